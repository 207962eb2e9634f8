"""Network ACLs: a second layer behind the security groups, for whole tiers of subnets.

They know no connections: an answer needs a rule as much as a call does, and goes to a port that its caller's system
chose. What they add: whoever opens a security group by mistake has not yet opened a tier. Used by the foundation.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from aws_cdk import Tags, aws_ec2
from constructs import Construct

from slipway.infra.constructs.vpc import Subnet
from slipway.infra.reasons import accept
from slipway.manifest.sections.network import Tier

ANYWHERE: Final = "0.0.0.0/0"
_TCP: Final = "6"
_ANSWERS: Final = (1024, 65535)  # ports that callers of any system, and of NAT gateways, are answered at
_ALL: Final = (0, 65535)
_STEP: Final = 10  # between numbers of rules, so that one fits in between by hand


@dataclass(frozen=True, slots=True)
class AclRule:
    """TCP from or to a range of addresses, at a range of ports."""

    direction: Literal["in", "out"]
    cidr: str
    ports: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkAclProps:
    """`cidr` is the VPC's range. `public_ports` are let in from the internet, `outward_ports` let out to it.

    `store_ports` are those that private subnets reach in isolated ones.
    """

    name: str
    vpc_id: str
    cidr: str
    tiers: Mapping[Tier, Sequence[Subnet]]
    public_ports: Sequence[int]
    outward_ports: Sequence[int]
    store_ports: Sequence[int]


class NetworkAcls(Construct):
    """One ACL a tier, over its subnets. What no rule names is refused."""

    def __init__(self, scope: Construct, construct_id: str, props: NetworkAclProps) -> None:
        super().__init__(scope, construct_id)
        for tier, subnets in props.tiers.items():
            acl = aws_ec2.CfnNetworkAcl(self, tier.title(), vpc_id=props.vpc_id)
            Tags.of(acl).add("Name", f"{props.name}-{tier}")
            accept(acl, {"AwsSolutions-VPC3": "The manifest says acls: true: a second layer behind security groups."})
            for index, subnet in enumerate(subnets):
                aws_ec2.CfnSubnetNetworkAclAssociation(
                    self,
                    f"{tier.title()}{index + 1}Association",
                    subnet_id=subnet.id,
                    network_acl_id=acl.attr_id,
                )
            numbers = {"in": 100, "out": 100}
            for rule in dict.fromkeys(_rules(tier, props)):
                self._entry(f"{tier.title()}{rule.direction.title()}{numbers[rule.direction]}", acl, rule, numbers)

    def _entry(self, name: str, acl: aws_ec2.CfnNetworkAcl, rule: AclRule, numbers: dict[str, int]) -> None:
        entry = aws_ec2.CfnNetworkAclEntry(
            self,
            name,
            network_acl_id=acl.attr_id,
            rule_number=numbers[rule.direction],
            egress=rule.direction == "out",
            protocol=int(_TCP),
            rule_action="allow",
            cidr_block=rule.cidr,
            port_range=aws_ec2.CfnNetworkAclEntry.PortRangeProperty(from_=rule.ports[0], to=rule.ports[1]),
        )
        numbers[rule.direction] += _STEP
        accept(entry, {"AwsSolutions-VPC3": "The manifest says acls: true: a second layer behind security groups."})


def _rules(tier: Tier, props: NetworkAclProps) -> Iterator[AclRule]:
    if tier == "isolated":
        yield from _isolated(props)
        return
    # Load balancers, NAT gateways and containers speak with each other at ports of their own choice; the security
    # groups say at which.
    yield AclRule("in", props.cidr, _ALL)
    yield AclRule("out", props.cidr, _ALL)
    yield AclRule("in", ANYWHERE, _ANSWERS)
    for port in props.outward_ports:
        yield AclRule("out", ANYWHERE, (port, port))
    if tier == "public":
        for port in props.public_ports:
            yield AclRule("in", ANYWHERE, (port, port))
        yield AclRule("out", ANYWHERE, _ANSWERS)


def _isolated(props: NetworkAclProps) -> Iterator[AclRule]:
    """Stores answer the private tier at their ports, and speak among themselves; nothing else comes in or goes out."""
    for cidr in _ranges(props.tiers.get("private", ())):
        for port in props.store_ports:
            yield AclRule("in", cidr, (port, port))
        yield AclRule("out", cidr, _ANSWERS)
    for cidr in _ranges(props.tiers["isolated"]):
        yield AclRule("in", cidr, _ALL)
        yield AclRule("out", cidr, _ALL)


def _ranges(subnets: Sequence[Subnet]) -> list[str]:
    """The subnets' ranges, neighbours as one: an ACL has twenty rules a direction, not one a subnet and port."""
    return [str(each) for each in ipaddress.collapse_addresses(ipaddress.IPv4Network(each.cidr) for each in subnets)]
