"""Aurora PostgreSQL, Serverless v2: rows, vectors (pgvector is an extension of the database) and text search.

The owner's password is a secret of ours, not one that RDS manages: RDS manages none for a cluster that belongs to a
global database (Aurora User Guide, Password management, Limitations), and rotates others under tasks that run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import CfnDeletionPolicy, aws_logs, aws_rds
from constructs import Construct

from slipway.infra.constructs.monitoring_role import MonitoringRole
from slipway.infra.constructs.retention import keep
from slipway.infra.constructs.secret import Secret
from slipway.infra.reasons import accept

DATABASE: Final = "slipway"
PORT: Final = 5432
ENGINE: Final = "aurora-postgresql"
VERSION: Final = "18.4"  # the version of the embedded server, so that a laptop's data moves here as it is
FAMILY: Final = "aurora-postgresql18"
_INSIGHTS_DAYS: Final = 7  # what Performance Insights keeps without a charge
_TAKES_OVER_FIRST: Final = 1  # readers of tiers 0 and 1 have the writer's size at any time


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Aurora capacity units, smallest and largest, and how many readers stand beside the writer."""

    min_acu: float
    max_acu: float
    readers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """How the instances are watched: every how many seconds (0: not), whether statements are kept, and the logs."""

    every_s: int
    insights: bool
    log_days: int
    log_key_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuroraProps:
    """`identifier` names the cluster: its log groups are named after it, and are made before it."""

    identifier: str
    capacity: Capacity
    subnet_ids: Sequence[str]
    security_group_id: str
    key_arn: str
    owner: Secret
    owner_name: str
    iam_auth: bool
    point_in_time_days: int
    watching: Watching
    lasting: bool


class Aurora(Construct):
    """The cluster and its instances, the writer first."""

    def __init__(self, scope: Construct, construct_id: str, props: AuroraProps) -> None:
        super().__init__(scope, construct_id)
        kinds = ["postgresql", *(["iam-db-auth-error"] if props.iam_auth else [])]
        logs = [self._log_group(props, kind) for kind in kinds]
        self.resource = self._cluster(props, kinds)
        for group in logs:
            self.resource.add_resource_dependency(group)
        keep(self.resource, props.lasting)
        accept(self.resource, _reasons(props))
        role = MonitoringRole(self, "Monitoring").arn if props.watching.every_s else None
        self.instances = [
            self._instance(f"Instance{index}", props, role, index) for index in range(1 + props.capacity.readers)
        ]
        for reader in self.instances[1:]:
            reader.add_resource_dependency(self.instances[0])  # the first instance is the one that writes
        self.identifier = self.resource.ref
        self.arn = self.resource.attr_db_cluster_arn
        self.resource_id = self.resource.attr_db_cluster_resource_id
        self.endpoint = self.resource.attr_endpoint_address
        self.reader_endpoint = self.resource.attr_read_endpoint_address
        self.instance_ids = tuple(instance.ref for instance in self.instances)

    def _cluster(self, props: AuroraProps, logs: list[str]) -> aws_rds.CfnDBCluster:
        subnets = aws_rds.CfnDBSubnetGroup(
            self, "Subnets", db_subnet_group_description="Where PostgreSQL stands", subnet_ids=list(props.subnet_ids)
        )
        parameters = aws_rds.CfnDBClusterParameterGroup(
            self,
            "Parameters",
            family=FAMILY,
            description="PostgreSQL by TLS alone; statements that take a second are logged",
            parameters={
                "rds.force_ssl": "1",
                "ssl_min_protocol_version": "TLSv1.2",
                "log_min_duration_statement": "1000",
                "shared_preload_libraries": "pg_stat_statements",
            },
        )
        return aws_rds.CfnDBCluster(
            self,
            "Cluster",
            db_cluster_identifier=props.identifier,
            engine=ENGINE,
            engine_version=VERSION,
            database_name=DATABASE,
            master_username=props.owner_name,
            master_user_password=props.owner.reference("password"),
            serverless_v2_scaling_configuration=aws_rds.CfnDBCluster.ServerlessV2ScalingConfigurationProperty(
                min_capacity=props.capacity.min_acu, max_capacity=props.capacity.max_acu
            ),
            db_subnet_group_name=subnets.ref,
            db_cluster_parameter_group_name=parameters.ref,
            vpc_security_group_ids=[props.security_group_id],
            port=PORT,
            enable_iam_database_authentication=props.iam_auth,
            storage_encrypted=True,
            kms_key_id=props.key_arn,
            backup_retention_period=props.point_in_time_days,
            preferred_backup_window="01:00-01:30",  # before the backups of the plan begin
            preferred_maintenance_window="tue:23:00-tue:23:30",
            copy_tags_to_snapshot=True,
            delete_automated_backups=not props.lasting,
            deletion_protection=props.lasting,
            enable_cloudwatch_logs_exports=logs,
        )

    def _log_group(self, props: AuroraProps, kind: str) -> aws_logs.CfnLogGroup:
        """RDS would make the group itself, and keep what is in it for ever."""
        group = aws_logs.CfnLogGroup(
            self,
            "".join(word.title() for word in kind.split("-")) + "Log",
            log_group_name=f"/aws/rds/cluster/{props.identifier}/{kind}",
            retention_in_days=props.watching.log_days,
            kms_key_id=props.watching.log_key_arn,
        )
        group.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        group.cfn_options.update_replace_policy = CfnDeletionPolicy.DELETE
        return group

    def _instance(self, name: str, props: AuroraProps, role: str | None, index: int) -> aws_rds.CfnDBInstance:
        watching = props.watching
        instance = aws_rds.CfnDBInstance(
            self,
            name,
            engine=ENGINE,
            db_cluster_identifier=self.resource.ref,
            db_instance_class="db.serverless",
            promotion_tier=min(index, _TAKES_OVER_FIRST),
            publicly_accessible=False,
            auto_minor_version_upgrade=True,
            ca_certificate_identifier="rds-ca-rsa2048-g1",
            monitoring_interval=watching.every_s,
            monitoring_role_arn=role,
            enable_performance_insights=watching.insights,
            performance_insights_retention_period=_INSIGHTS_DAYS if watching.insights else None,
            performance_insights_kms_key_id=props.key_arn if watching.insights else None,
        )
        # The data is the cluster's: an instance has none.
        instance.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        instance.cfn_options.update_replace_policy = CfnDeletionPolicy.DELETE
        return instance


def _reasons(props: AuroraProps) -> dict[str, str]:
    reasons = {
        "AwsSolutions-RDS11": "The port hides nothing: only who needs PostgreSQL reaches it, by TLS and a sign-in."
    }
    if not props.iam_auth:
        reasons["AwsSolutions-RDS6"] = "The manifest says iam_auth: false: its parts sign in with a password."
    if not props.lasting:
        reasons["AwsSolutions-RDS10"] = "A preview's data goes with it."
    return reasons
