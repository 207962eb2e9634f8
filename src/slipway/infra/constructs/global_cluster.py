"""Aurora in two regions: the volume is copied all the time, and the copy has no instance until it is needed.

`GlobalCluster` stands beside the first cluster, `SecondCluster` in the recovery region. A failover takes the second
out of the global cluster, which makes it writable, and adds an instance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import aws_cloudwatch, aws_rds
from constructs import Construct

from slipway.infra.constructs.aurora import ENGINE, FAMILY, PORT, VERSION, Aurora, Capacity
from slipway.infra.constructs.retention import keep
from slipway.infra.reasons import accept


class GlobalCluster(Construct):
    """What holds the clusters of both regions together. An existing cluster joins as it stands, with its data."""

    def __init__(self, scope: Construct, construct_id: str, *, identifier: str, first: Aurora, lasting: bool) -> None:
        super().__init__(scope, construct_id)
        self.resource = aws_rds.CfnGlobalCluster(
            self,
            "Global",
            global_cluster_identifier=identifier,
            source_db_cluster_identifier=first.arn,
            deletion_protection=lasting,
        )
        for instance in first.instances:  # a cluster joins once it can be written to
            self.resource.add_resource_dependency(instance)
        keep(self.resource, lasting)
        accept(
            self.resource, {"unencrypted": "RDS takes no word on it beside a source: it is encrypted as its clusters."}
        )
        self.identifier = identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondClusterProps:
    """`global_identifier` names what it joins; `identifier` is its own. `capacity` is that of the instance to come.

    `topic_arn` is told when the copy is further behind than `lag_ms`, which objectives are counted with.
    """

    identifier: str
    global_identifier: str
    capacity: Capacity
    subnet_ids: Sequence[str]
    security_group_id: str
    key_arn: str
    iam_auth: bool
    point_in_time_days: int
    lag_ms: int
    topic_arn: str
    lasting: bool


class SecondCluster(Construct):
    """The copy in the recovery region, without an instance."""

    def __init__(self, scope: Construct, construct_id: str, props: SecondClusterProps) -> None:
        super().__init__(scope, construct_id)
        subnets = aws_rds.CfnDBSubnetGroup(
            self, "Subnets", db_subnet_group_description="Where PostgreSQL stands", subnet_ids=list(props.subnet_ids)
        )
        parameters = aws_rds.CfnDBClusterParameterGroup(
            self,
            "Parameters",
            family=FAMILY,
            description="PostgreSQL by TLS alone",
            parameters={"rds.force_ssl": "1", "ssl_min_protocol_version": "TLSv1.2"},
        )
        self.resource = aws_rds.CfnDBCluster(
            self,
            "Cluster",
            db_cluster_identifier=props.identifier,
            global_cluster_identifier=props.global_identifier,
            engine=ENGINE,
            engine_version=VERSION,
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
            copy_tags_to_snapshot=True,
            deletion_protection=props.lasting,
            enable_cloudwatch_logs_exports=["postgresql"],
        )
        keep(self.resource, props.lasting)
        accept(
            self.resource,
            {
                "AwsSolutions-RDS11": "The port hides nothing: nobody reaches it before a failover, and then only who "
                "needs PostgreSQL does.",
            },
        )
        self.identifier = self.resource.ref
        self.arn = self.resource.attr_db_cluster_arn
        self._watch(props)

    def _watch(self, props: SecondClusterProps) -> None:
        """Aurora does not bound how far a copy is behind, so somebody is told."""
        aws_cloudwatch.CfnAlarm(
            self,
            "Behind",
            alarm_name=f"{props.identifier}-lag",
            alarm_description=f"[critical] The copy {props.identifier} is behind by more than objectives count with",
            namespace="AWS/RDS",
            metric_name="AuroraGlobalDBReplicationLag",
            dimensions=[aws_cloudwatch.CfnAlarm.DimensionProperty(name="DBClusterIdentifier", value=self.resource.ref)],
            statistic="Maximum",
            period=60,
            evaluation_periods=5,
            datapoints_to_alarm=5,
            threshold=props.lag_ms,
            comparison_operator="GreaterThanThreshold",
            treat_missing_data="missing",
            alarm_actions=[props.topic_arn],
            ok_actions=[props.topic_arn],
        )
