"""Security groups: one a node of the topology, and nothing passes but along its edges.

Rules are resources of their own, so that two groups may name each other. A rule stands on both sides: who opens a
connection may leave for its target alone, and the target lets its callers in alone. Used by the foundation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aws_cdk import Tags, aws_ec2
from constructs import Construct

from slipway.infra.naming import Names
from slipway.infra.passages import ANYWHERE, Passage
from slipway.infra.reasons import accept

# CloudFormation opens every way out of a group that states none; this one leads to nobody.
_NOWHERE: Final = "127.0.0.1/32"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroupsProps:
    """`own` are groups to make, by name, each with what it is for. `others` exist already: names and ids.

    What a passage names that is no group is a range of addresses.
    """

    name: str
    vpc_id: str
    own: Mapping[str, str]
    passages: Sequence[Passage]
    others: Mapping[str, str] = field(default_factory=dict)


class SecurityGroups(Construct):
    """The groups, `id` by name."""

    def __init__(self, scope: Construct, construct_id: str, props: SecurityGroupsProps) -> None:
        super().__init__(scope, construct_id)
        self._groups = {
            name: aws_ec2.CfnSecurityGroup(
                self,
                Names.construct(name),
                vpc_id=props.vpc_id,
                group_description=purpose,
                security_group_egress=[
                    aws_ec2.CfnSecurityGroup.EgressProperty(
                        ip_protocol="-1", cidr_ip=_NOWHERE, description="Nowhere: each way out is a rule of its own"
                    )
                ],
            )
            for name, purpose in props.own.items()
        }
        for name, group in self._groups.items():
            Tags.of(group).add("Name", f"{props.name}-{name}")
        self._ids = {**props.others, **{name: group.attr_group_id for name, group in self._groups.items()}}
        for passage in props.passages:
            # What passes between groups of others is theirs to open: a rule is in a group once.
            if passage.source in self._groups or passage.target in self._groups:
                self._open(passage)

    def id(self, name: str) -> str:
        """The id of a group; raises KeyError for a name that has none."""
        return self._ids[name]

    def _open(self, passage: Passage) -> None:
        name = f"{_word(passage.source)}To{_word(passage.target)}{passage.port}"
        source, target = self._ids.get(passage.source), self._ids.get(passage.target)
        if source is not None:
            aws_ec2.CfnSecurityGroupEgress(
                self,
                f"{name}Out",
                group_id=source,
                ip_protocol="tcp",
                from_port=passage.port,
                to_port=passage.port,
                description=passage.why,
                destination_security_group_id=target,
                cidr_ip=passage.target if target is None else None,
            )
        if target is not None:
            rule = aws_ec2.CfnSecurityGroupIngress(
                self,
                f"{name}In",
                group_id=target,
                ip_protocol="tcp",
                from_port=passage.port,
                to_port=passage.port,
                description=passage.why,
                source_security_group_id=source,
                cidr_ip=passage.source if source is None else None,
            )
            if passage.source == ANYWHERE:
                accept(rule, {"AwsSolutions-EC23": "The front door: its listener is what the internet is to reach."})


def _word(name: str) -> str:
    """A part of a construct's id: of a group's name, or of a range of addresses."""
    return "Anywhere" if name == ANYWHERE else Names.construct(name)
