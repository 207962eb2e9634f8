"""Endpoints: services of AWS, reached inside the VPC.

S3 and DynamoDB by a route, which costs nothing; others by an interface in each zone. Their policies let principals of
this account in alone, so that nobody's stolen credentials carry data out by them. Used by the foundation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Aws, Tags, aws_ec2
from constructs import Construct

from slipway.infra.constructs.vpc import Subnet
from slipway.manifest.sections.network import FREE_ENDPOINTS, Endpoint

# What a name of the manifest stands for, as EC2 calls services within a region.
SERVICES: Final[Mapping[Endpoint, tuple[str, ...]]] = {
    "s3": ("s3",),
    "dynamodb": ("dynamodb",),
    "ecr": ("ecr.api", "ecr.dkr"),
    "logs": ("logs",),
    "secrets": ("secretsmanager",),
    "sts": ("sts",),
    "bedrock": ("bedrock-runtime",),
    "bedrock-agent": ("bedrock-agent-runtime",),
    "kms": ("kms",),
    "ssm": ("ssm", "ssmmessages"),
    "monitoring": ("monitoring",),
    "xray": ("xray",),
    "states": ("states",),
    "sns": ("sns",),
    "sqs": ("sqs",),
    "ecs": ("ecs", "ecs-agent", "ecs-telemetry"),
    "ec2": ("ec2",),
    "eks": ("eks", "eks-auth"),
    "elasticfilesystem": ("elasticfilesystem",),
    "aoss": ("aoss",),
}
# Those of which calls without a principal are made: a token of a workload is exchanged before there is one.
_UNSIGNED: Final[Mapping[str, tuple[str, ...]]] = {
    "sts": ("sts:AssumeRoleWithWebIdentity", "sts:AssumeRoleWithSAML"),
    # Layers of images, packages of Amazon Linux and files of others are read at signed or open addresses.
    "s3": ("s3:GetObject", "s3:GetObjectVersion"),
}
# Those that are known to take a policy; the others let in whoever IAM lets.
_WITH_POLICY: Final = frozenset(
    {
        "s3", "dynamodb", "ecr.api", "ecr.dkr", "logs", "secretsmanager", "sts", "bedrock-runtime",
        "bedrock-agent-runtime", "kms", "ssm", "monitoring", "xray", "states", "sns", "sqs", "ec2",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointsProps:
    """`routed` are subnets whose route tables lead to S3 and DynamoDB; interfaces stand in `subnets`, one a zone."""

    name: str
    region: str
    vpc_id: str
    services: Sequence[Endpoint]
    routed: Sequence[Subnet]
    subnets: Sequence[Subnet]
    security_group_id: str | None


class Endpoints(Construct):
    """One endpoint a service of EC2's list."""

    def __init__(self, scope: Construct, construct_id: str, props: EndpointsProps) -> None:
        super().__init__(scope, construct_id)
        for name in sorted(props.services):
            for service in SERVICES[name]:
                endpoint = self._route(service, props) if name in FREE_ENDPOINTS else self._interface(service, props)
                Tags.of(endpoint).add("Name", f"{props.name}-{service}")

    def _route(self, service: str, props: EndpointsProps) -> aws_ec2.CfnVPCEndpoint:
        return aws_ec2.CfnVPCEndpoint(
            self,
            _word(service),
            vpc_id=props.vpc_id,
            service_name=f"com.amazonaws.{props.region}.{service}",
            vpc_endpoint_type="Gateway",
            route_table_ids=[subnet.route_table_id for subnet in props.routed],
            policy_document=_policy(service),
        )

    def _interface(self, service: str, props: EndpointsProps) -> aws_ec2.CfnVPCEndpoint:
        return aws_ec2.CfnVPCEndpoint(
            self,
            _word(service),
            vpc_id=props.vpc_id,
            service_name=f"com.amazonaws.{props.region}.{service}",
            vpc_endpoint_type="Interface",
            private_dns_enabled=True,  # the service's own name leads here
            subnet_ids=[subnet.id for subnet in props.subnets],
            security_group_ids=None if props.security_group_id is None else [props.security_group_id],
            policy_document=_policy(service) if service in _WITH_POLICY else None,
        )


def _policy(service: str) -> dict[str, Any]:
    own = {
        "Sid": "PrincipalsOfThisAccount",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "*",
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalAccount": Aws.ACCOUNT_ID}},
    }
    unsigned = _UNSIGNED.get(service)
    others = {"Sid": "Unsigned", "Effect": "Allow", "Principal": "*", "Action": list(unsigned or ()), "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [own, others] if unsigned else [own]}


def _word(service: str) -> str:
    return "".join(part.title() for part in service.replace(".", "-").split("-"))
