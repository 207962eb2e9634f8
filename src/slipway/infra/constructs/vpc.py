"""The VPC: its range, a subnet for each tier and zone, a route table for each subnet, and a way to the internet.

`nat` adds the way out of private subnets, `network_acl`, `endpoints` and `flow_logs` the rest. Used by the foundation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Tags, aws_ec2
from constructs import Construct

from slipway.infra.reasons import accept
from slipway.manifest.sections.network import Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class VpcProps:
    """`subnets` are ranges, one for each of `zones`, in their order. `logged` says that flow logs are made of it."""

    name: str
    cidr: str
    zones: Sequence[str]
    subnets: Mapping[Tier, Sequence[str]]
    logged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """One subnet, with a route table of its own."""

    id: str
    cidr: str
    route_table_id: str


class Vpc(Construct):
    """A VPC and its subnets, by tier in the zones' order."""

    def __init__(self, scope: Construct, construct_id: str, props: VpcProps) -> None:
        super().__init__(scope, construct_id)
        self.resource = aws_ec2.CfnVPC(
            self,
            "Vpc",
            cidr_block=props.cidr,
            enable_dns_support=True,  # private names, and the names of AWS's services inside the VPC
            enable_dns_hostnames=True,
            instance_tenancy="default",
        )
        Tags.of(self.resource).add("Name", props.name)
        if not props.logged:
            accept(self.resource, {"AwsSolutions-VPC7": "The manifest says flow_logs: false."})
        self.id = self.resource.attr_vpc_id
        self.cidr = props.cidr
        self.default_security_group_id = self.resource.attr_default_security_group
        self._name = props.name
        self.subnets: dict[Tier, tuple[Subnet, ...]] = {
            tier: tuple(
                self._subnet(tier, index, cidr, zone)
                for index, (cidr, zone) in enumerate(zip(ranges, props.zones, strict=True))
            )
            for tier, ranges in props.subnets.items()
        }
        if "public" in self.subnets:
            self._open(self.subnets["public"])

    def ids(self, tier: Tier) -> tuple[str, ...]:
        """The subnets of a tier; none where there is no such tier."""
        return tuple(subnet.id for subnet in self.subnets.get(tier, ()))

    def _subnet(self, tier: Tier, index: int, cidr: str, zone: str) -> Subnet:
        part = f"{tier.title()}{index + 1}"
        subnet = aws_ec2.CfnSubnet(
            self,
            f"{part}Subnet",
            vpc_id=self.id,
            cidr_block=cidr,
            availability_zone=zone,
            map_public_ip_on_launch=False,  # load balancers and NAT gateways bring their addresses along
        )
        table = aws_ec2.CfnRouteTable(self, f"{part}Routes", vpc_id=self.id)
        for resource in (subnet, table):
            Tags.of(resource).add("Name", f"{self._name}-{tier}-{index + 1}")
        aws_ec2.CfnSubnetRouteTableAssociation(
            self, f"{part}Association", subnet_id=subnet.attr_subnet_id, route_table_id=table.attr_route_table_id
        )
        return Subnet(id=subnet.attr_subnet_id, cidr=cidr, route_table_id=table.attr_route_table_id)

    def _open(self, subnets: Sequence[Subnet]) -> None:
        """Routes the public subnets to the internet."""
        gateway = aws_ec2.CfnInternetGateway(self, "InternetGateway")
        Tags.of(gateway).add("Name", self._name)
        self.attachment = aws_ec2.CfnVPCGatewayAttachment(
            self, "Attachment", vpc_id=self.id, internet_gateway_id=gateway.attr_internet_gateway_id
        )
        for index, subnet in enumerate(subnets):
            route = aws_ec2.CfnRoute(
                self,
                f"Public{index + 1}Internet",
                route_table_id=subnet.route_table_id,
                destination_cidr_block="0.0.0.0/0",
                gateway_id=gateway.attr_internet_gateway_id,
            )
            route.add_resource_dependency(self.attachment)
