"""How private subnets reach the internet: one NAT gateway, or one in each zone, and nobody reaches them back.

Used by the foundation, with subnets of `vpc`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Tags, aws_ec2
from constructs import Construct, IDependable

from slipway.infra.constructs.vpc import Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class NatProps:
    """`public` are the subnets that get a gateway each; `private` those that leave by them, in the zones' order.

    A private subnet leaves by its own zone's gateway where there is one, else by the first.
    """

    name: str
    public: Sequence[Subnet]
    private: Sequence[Subnet]
    attachment: IDependable


class Nat(Construct):
    """NAT gateways with addresses that stay, which partners can let in."""

    def __init__(self, scope: Construct, construct_id: str, props: NatProps) -> None:
        super().__init__(scope, construct_id)
        gateways = [self._gateway(index, subnet, props) for index, subnet in enumerate(props.public)]
        for index, subnet in enumerate(props.private):
            gateway = gateways[index] if index < len(gateways) else gateways[0]
            aws_ec2.CfnRoute(
                self,
                f"Private{index + 1}Internet",
                route_table_id=subnet.route_table_id,
                destination_cidr_block="0.0.0.0/0",
                nat_gateway_id=gateway.attr_nat_gateway_id,
            )

    def _gateway(self, index: int, subnet: Subnet, props: NatProps) -> aws_ec2.CfnNatGateway:
        address = aws_ec2.CfnEIP(self, f"Address{index + 1}", domain="vpc")
        address.node.add_dependency(props.attachment)
        gateway = aws_ec2.CfnNatGateway(
            self,
            f"Gateway{index + 1}",
            subnet_id=subnet.id,
            allocation_id=address.attr_allocation_id,
            connectivity_type="public",
        )
        gateway.node.add_dependency(props.attachment)
        for resource in (address, gateway):
            Tags.of(resource).add("Name", f"{props.name}-{index + 1}")
        return gateway
