"""Neptune, where the knowledge graph lives: a cluster with daily snapshots, encrypted, reached by IAM sign-in alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import CfnDeletionPolicy, aws_logs, aws_neptune
from constructs import Construct

from slipway.infra.constructs.retention import keep
from slipway.infra.reasons import accept

PORT: Final = 8182
VERSION: Final = "1.4.6.0"
FAMILY: Final = "neptune1.4"


@dataclass(frozen=True, slots=True, kw_only=True)
class NeptuneProps:
    """`identifier` names the cluster: its log group is named after it, and is made before it."""

    identifier: str
    instance: str
    readers: int
    subnet_ids: Sequence[str]
    security_group_id: str
    key_arn: str
    point_in_time_days: int
    log_days: int
    log_key_arn: str
    lasting: bool


class Neptune(Construct):
    """The cluster and its instances, the writer first."""

    def __init__(self, scope: Construct, construct_id: str, props: NeptuneProps) -> None:
        super().__init__(scope, construct_id)
        log = aws_logs.CfnLogGroup(
            self,
            "AuditLog",
            log_group_name=f"/aws/neptune/{props.identifier}/audit",
            retention_in_days=props.log_days,
            kms_key_id=props.log_key_arn,
        )
        log.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        log.cfn_options.update_replace_policy = CfnDeletionPolicy.DELETE
        self.resource = self._cluster(props)
        self.resource.add_resource_dependency(log)
        keep(self.resource, props.lasting)
        self.instances = [self._instance(f"Instance{index}", props) for index in range(1 + props.readers)]
        for reader in self.instances[1:]:
            reader.add_resource_dependency(self.instances[0])  # the first instance is the one that writes
        if not props.lasting:
            accept(self.resource, {"AwsSolutions-N3": "A preview's data goes with it."})
        self.identifier = self.resource.ref
        self.resource_id = self.resource.attr_cluster_resource_id
        self.endpoint = self.resource.attr_endpoint
        self.port = self.resource.attr_port
        self.instance_ids = tuple(instance.ref for instance in self.instances)

    def _cluster(self, props: NeptuneProps) -> aws_neptune.CfnDBCluster:
        subnets = aws_neptune.CfnDBSubnetGroup(
            self, "Subnets", db_subnet_group_description="Where Neptune stands", subnet_ids=list(props.subnet_ids)
        )
        parameters = aws_neptune.CfnDBClusterParameterGroup(
            self,
            "Parameters",
            family=FAMILY,
            description="Who asked what is logged",
            parameters={"neptune_enable_audit_log": "1"},
        )
        return aws_neptune.CfnDBCluster(
            self,
            "Cluster",
            db_cluster_identifier=props.identifier,
            engine_version=VERSION,
            db_port=PORT,
            db_subnet_group_name=subnets.ref,
            db_cluster_parameter_group_name=parameters.ref,
            vpc_security_group_ids=[props.security_group_id],
            iam_auth_enabled=True,
            storage_encrypted=True,
            kms_key_id=props.key_arn,
            backup_retention_period=props.point_in_time_days,
            preferred_backup_window="01:00-01:30",  # before the backups of the plan begin
            preferred_maintenance_window="tue:23:00-tue:23:30",
            copy_tags_to_snapshot=True,
            deletion_protection=props.lasting,
            enable_cloudwatch_logs_exports=["audit"],
        )

    def _instance(self, name: str, props: NeptuneProps) -> aws_neptune.CfnDBInstance:
        instance = aws_neptune.CfnDBInstance(
            self,
            name,
            db_instance_class=props.instance,
            db_cluster_identifier=self.resource.ref,
            auto_minor_version_upgrade=True,
            publicly_accessible=False,
        )
        # The data is the cluster's: an instance has none.
        instance.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        instance.cfn_options.update_replace_policy = CfnDeletionPolicy.DELETE
        return instance
