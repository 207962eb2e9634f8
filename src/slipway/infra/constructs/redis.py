"""Redis that processes share: TLS, a token, encrypted at rest, and a replica in another zone that takes over.

It holds limits, caches and sessions, all of which can be made again: no snapshots are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import CfnDeletionPolicy, CfnResource, aws_elasticache, aws_logs
from constructs import Construct

from slipway.infra.constructs.secret import Secret
from slipway.infra.reasons import accept


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisProps:
    """`token` is the secret with the plain token; `log_group` the name of the group for slow commands."""

    node: str
    multi_az: bool
    subnet_ids: Sequence[str]
    security_group_id: str
    key_arn: str
    token: Secret
    log_group: str
    log_days: int
    log_key_arn: str


class Redis(Construct):
    """One replication group; `endpoint` and `port` lead to the primary, `id` names it in metrics."""

    def __init__(self, scope: Construct, construct_id: str, props: RedisProps) -> None:
        super().__init__(scope, construct_id)
        logs = aws_logs.CfnLogGroup(
            self,
            "SlowLog",
            log_group_name=props.log_group,
            retention_in_days=props.log_days,
            kms_key_id=props.log_key_arn,
        )
        _goes(logs)
        subnets = aws_elasticache.CfnSubnetGroup(
            self, "Subnets", description="Where Redis stands", subnet_ids=list(props.subnet_ids)
        )
        self.resource = aws_elasticache.CfnReplicationGroup(
            self,
            "Group",
            replication_group_description="Limits, caches and sessions",
            engine="redis",
            engine_version="7.1",
            cache_node_type=props.node,
            cache_parameter_group_name="default.redis7",
            num_cache_clusters=2 if props.multi_az else 1,
            automatic_failover_enabled=props.multi_az,
            multi_az_enabled=props.multi_az,
            transit_encryption_enabled=True,
            transit_encryption_mode="required",
            at_rest_encryption_enabled=True,
            kms_key_id=props.key_arn,
            auth_token=props.token.reference(),
            port=6379,
            cache_subnet_group_name=subnets.ref,
            security_group_ids=[props.security_group_id],
            auto_minor_version_upgrade=True,
            snapshot_retention_limit=0,
            log_delivery_configurations=[
                aws_elasticache.CfnReplicationGroup.LogDeliveryConfigurationRequestProperty(
                    destination_type="cloudwatch-logs",
                    destination_details=aws_elasticache.CfnReplicationGroup.DestinationDetailsProperty(
                        cloud_watch_logs_details=aws_elasticache.CfnReplicationGroup.CloudWatchLogsDestinationDetailsProperty(
                            log_group=logs.ref
                        )
                    ),
                    log_format="json",
                    log_type="slow-log",
                )
            ],
        )
        _goes(self.resource)
        accept(self.resource, _reasons(props.multi_az))
        self.id = self.resource.ref
        self.endpoint = self.resource.attr_primary_end_point_address
        self.port = self.resource.attr_primary_end_point_port


def _reasons(multi_az: bool) -> dict[str, str]:
    reasons = {
        "AwsSolutions-AEC5": "The port hides nothing: only parts that need Redis reach it, with TLS and a token."
    }
    if not multi_az:
        reasons["AwsSolutions-AEC4"] = "The manifest says multi_az: false: limits and caches begin empty after a loss."
    return reasons


def _goes(resource: CfnResource) -> None:
    """It holds nothing that must outlive the stack."""
    resource.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
    resource.cfn_options.update_replace_policy = CfnDeletionPolicy.DELETE
