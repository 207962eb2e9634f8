"""A domain of OpenSearch that logs are searched in: several nodes, in the VPC, with a right for each reader.

Signed requests of one role alone reach it; that role gives others what they may see. Logs stay in CloudWatch as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Aws, CfnDeletionPolicy, Fn, Stack, aws_iam, aws_logs, aws_opensearchservice
from constructs import Construct

from slipway.infra.constructs.retention import keep
from slipway.infra.reasons import accept

VERSION: Final = "OpenSearch_2.19"
# The kinds of a domain's own logs, and what their groups are called.
_LOGS: Final[Mapping[str, str]] = {
    "AUDIT_LOGS": "audit",
    "ES_APPLICATION_LOGS": "application",
    "INDEX_SLOW_LOGS": "slow-indexing",
    "SEARCH_SLOW_LOGS": "slow-search",
}
_THREE_ZONES: Final = 3

Domain = aws_opensearchservice.CfnDomain


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Type and number of data nodes, and the disk of each in GiB."""

    instance: str
    count: int
    disk_gib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchDomainProps:
    """`name` has at most 28 characters; `log_prefix` is where the domain's own logs go."""

    name: str
    nodes: Nodes
    subnet_ids: Sequence[str]
    security_group_id: str
    key_arn: str
    log_prefix: str
    log_days: int
    log_key_arn: str
    lasting: bool


class SearchDomain(Construct):
    """The domain, its logs, and `admin_role_arn`, which may do everything in it."""

    def __init__(self, scope: Construct, construct_id: str, props: SearchDomainProps) -> None:
        super().__init__(scope, construct_id)
        groups = {kind: self._log_group(props, name) for kind, name in _LOGS.items()}
        policy = self._log_policy(props, list(groups.values()))
        self.admin_role_arn = self._admin()
        zones = zones_of(props.nodes.count, len(props.subnet_ids))
        self.resource = self._domain(props, zones, groups)
        self.resource.add_resource_dependency(policy)
        keep(self.resource, props.lasting)
        accept(self.resource, _reasons(zones))
        self.name = self.resource.ref
        self.arn = self.resource.attr_arn
        self.endpoint = self.resource.attr_domain_endpoint

    def _domain(self, props: SearchDomainProps, zones: int, groups: Mapping[str, aws_logs.CfnLogGroup]) -> Domain:
        return Domain(
            self,
            "Domain",
            domain_name=props.name,
            engine_version=VERSION,
            cluster_config=Domain.ClusterConfigProperty(
                instance_type=props.nodes.instance,
                instance_count=props.nodes.count,
                zone_awareness_enabled=zones > 1,
                zone_awareness_config=Domain.ZoneAwarenessConfigProperty(availability_zone_count=zones)
                if zones > 1
                else None,
            ),
            ebs_options=Domain.EBSOptionsProperty(
                ebs_enabled=True, volume_type="gp3", volume_size=props.nodes.disk_gib
            ),
            vpc_options=Domain.VPCOptionsProperty(
                subnet_ids=list(props.subnet_ids[:zones]), security_group_ids=[props.security_group_id]
            ),
            encryption_at_rest_options=Domain.EncryptionAtRestOptionsProperty(enabled=True, kms_key_id=props.key_arn),
            node_to_node_encryption_options=Domain.NodeToNodeEncryptionOptionsProperty(enabled=True),
            domain_endpoint_options=Domain.DomainEndpointOptionsProperty(
                enforce_https=True, tls_security_policy="Policy-Min-TLS-1-2-PFS-2023-10"
            ),
            advanced_security_options=Domain.AdvancedSecurityOptionsInputProperty(
                enabled=True,
                internal_user_database_enabled=False,
                master_user_options=Domain.MasterUserOptionsProperty(master_user_arn=self.admin_role_arn),
            ),
            access_policies=self._access(props.name),
            log_publishing_options={
                kind: Domain.LogPublishingOptionProperty(enabled=True, cloud_watch_logs_log_group_arn=group.attr_arn)
                for kind, group in groups.items()
            },
            software_update_options=Domain.SoftwareUpdateOptionsProperty(auto_software_update_enabled=True),
        )

    def _access(self, name: str) -> dict[str, Any]:
        domain = Fn.join(":", ["arn", Aws.PARTITION, "es", Aws.REGION, Aws.ACCOUNT_ID, f"domain/{name}/*"])
        return {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "Admin",
                    "Effect": "Allow",
                    "Principal": {"AWS": self.admin_role_arn},
                    "Action": ["es:ESHttpGet", "es:ESHttpHead", "es:ESHttpPost", "es:ESHttpPut", "es:ESHttpDelete"],
                    "Resource": domain,
                }
            ],
        }

    def _admin(self) -> str:
        """A role of people and parts of this account that IAM lets take it: the domain knows nobody else at first."""
        role = aws_iam.CfnRole(
            self,
            "Admin",
            description="Everything in the domain of logs",
            assume_role_policy_document={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "ThisAccount",
                        "Effect": "Allow",
                        "Principal": {"AWS": Fn.join(":", ["arn", Aws.PARTITION, "iam:", Aws.ACCOUNT_ID, "root"])},
                        "Action": "sts:AssumeRole",
                    }
                ],
            },
        )
        return role.attr_arn

    def _log_group(self, props: SearchDomainProps, name: str) -> aws_logs.CfnLogGroup:
        group = aws_logs.CfnLogGroup(
            self,
            "".join(word.title() for word in name.split("-")) + "Log",
            log_group_name=f"{props.log_prefix}/{name}",
            retention_in_days=props.log_days,
            kms_key_id=props.log_key_arn,
        )
        group.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        group.cfn_options.update_replace_policy = CfnDeletionPolicy.DELETE
        return group

    def _log_policy(
        self, props: SearchDomainProps, groups: Sequence[aws_logs.CfnLogGroup]
    ) -> aws_logs.CfnResourcePolicy:
        """OpenSearch writes its logs by a policy of CloudWatch Logs, not by a role."""
        document = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "Domain",
                    "Effect": "Allow",
                    "Principal": {"Service": "es.amazonaws.com"},
                    "Action": ["logs:PutLogEvents", "logs:CreateLogStream"],
                    "Resource": [group.attr_arn for group in groups],
                    "Condition": {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
                }
            ],
        }
        return aws_logs.CfnResourcePolicy(
            self, "LogPolicy", policy_name=f"{props.name}-logs", policy_document=Stack.of(self).to_json_string(document)
        )


def zones_of(nodes: int, subnets: int) -> int:
    """Over how many zones nodes are shared out: as many as divide them evenly, at most three."""
    if nodes % _THREE_ZONES == 0 and subnets >= _THREE_ZONES:
        return _THREE_ZONES
    return 2 if nodes % 2 == 0 and subnets > 1 else 1


def _reasons(zones: int) -> dict[str, str]:
    reasons = {
        "AwsSolutions-OS3": "It has no address outside the VPC: a security group and a signature say who comes.",
        "AwsSolutions-OS4": "Master nodes of their own cost more than the domain; what it loses is still in CloudWatch",
    }
    if zones == 1:
        reasons["AwsSolutions-OS7"] = "The manifest's number of nodes cannot be shared out over the zones."
    return reasons
