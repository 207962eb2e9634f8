"""`network`: the VPC, made from a range of addresses, or one that exists."""

import ipaddress
import re
from typing import Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.addresses import overlapping
from slipway.manifest.sections.section import VPC_PATTERN, Section

Tier = Literal["public", "private", "isolated"]
Endpoint = Literal[
    "s3", "dynamodb", "ecr", "logs", "secrets", "sts", "bedrock", "bedrock-agent", "kms", "ssm", "monitoring", "xray",
    "states", "sns", "sqs", "ecs", "ec2", "eks", "elasticfilesystem", "aoss",
]  # fmt: skip
FREE_ENDPOINTS: Final = frozenset({"s3", "dynamodb"})  # gateway endpoints: a route, not an interface with a price
_SUBNET: Final = re.compile(r"subnet-[0-9a-f]{8,17}")
_OF_AN_EXISTING_VPC: Final = frozenset({"vpc", "subnets"})


class Subnets(Section):
    """Exactly these subnets, one a zone, in the zones' order: ranges of addresses, or ids in a VPC that exists."""

    public: tuple[str, ...] = Field(default=(), description="Of load balancers and NAT gateways.")
    private: tuple[str, ...] = Field(default=(), description="Of containers, which reach the internet by NAT.")
    isolated: tuple[str, ...] = Field(default=(), description="Of data stores, without a way to the internet.")

    def tiers(self) -> dict[Tier, tuple[str, ...]]:
        """The tiers that are stated."""
        stated: dict[Tier, tuple[str, ...]] = {
            "public": self.public, "private": self.private, "isolated": self.isolated,
        }  # fmt: skip
        return {tier: subnets for tier, subnets in stated.items() if subnets}


class Network(Section):
    """Addresses, zones and tiers of subnets."""

    vpc: str | None = Field(
        default=None,
        pattern=VPC_PATTERN,
        description="A VPC that exists; then state the ids of its subnets, and leave the other keys out.",
    )
    subnets: Subnets | None = Field(
        default=None, description="Exactly these subnets; left out, the VPC's range is shared out in equal parts."
    )
    cidr: str = Field(default="10.0.0.0/16", description="The VPC's range of addresses, /16 to /24.")
    azs: int = Field(
        default=2,
        ge=1,
        le=6,
        description="Availability zones that things run in. With 1 there are still subnets in a second one, empty: "
        "load balancers and databases ask for two.",
    )
    nat: Literal["none", "single", "per-az"] = Field(
        default="single", description="How private subnets reach the internet: one NAT gateway, or one in each zone."
    )
    tiers: tuple[Tier, ...] = Field(
        default=("public", "private"), min_length=1, description="Tiers of subnets in each zone."
    )
    flow_logs: bool = Field(default=True, description="Log which connections were let through and which were not.")
    acls: bool = Field(
        default=False, description="Network ACLs behind the security groups: only what a tier's neighbours send."
    )
    endpoints: tuple[Endpoint, ...] = Field(
        default=("s3", "dynamodb"),
        description="AWS services that are reached inside the VPC. s3 and dynamodb cost nothing; each other one costs "
        "by the hour and zone.",
    )

    @property
    def subnet_zones(self) -> int:
        """How many zones have subnets: at least two (load balancers and database subnet groups refuse fewer)."""
        if self.vpc is not None and self.subnets is not None:
            return len(self.subnets.private)
        return max(self.azs, 2)

    @property
    def present_tiers(self) -> tuple[Tier, ...]:
        """The tiers that there are, also in a VPC that exists."""
        if self.vpc is not None and self.subnets is not None:
            return tuple(self.subnets.tiers())
        return self.tiers

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problem = self._existing_misfit() if self.vpc else self._misfit() or self._subnet_misfit()
        if problem:
            raise PydanticCustomError("network", "{problem}", {"problem": problem})
        return self

    def _existing_misfit(self) -> str | None:
        own = sorted(self.model_fields_set - _OF_AN_EXISTING_VPC)
        if own:
            return (
                f"vpc names a network that exists: remove {', '.join(own)}, or move them to environments that make one"
            )
        if self.subnets is None or not self.subnets.private:
            return (
                "nothing is looked up in a VPC that exists: write subnets: {private: [subnet-…, subnet-…]}, one a zone"
            )
        for tier, subnets in self.subnets.tiers().items():
            if any(not _SUBNET.fullmatch(subnet) for subnet in subnets):
                return f"subnets.{tier} of a VPC that exists are ids, like subnet-0123456789abcdef0"
            if len(set(subnets)) != len(subnets):
                return f"subnets.{tier} names a subnet twice"
            if len(subnets) < 2 or len(subnets) != len(self.subnets.private):
                return (
                    f"subnets.{tier} has {len(subnets)}: write one in each of at least two zones, in each tier the same"
                )
        return None

    def _misfit(self) -> str | None:
        try:
            prefix = ipaddress.IPv4Network(self.cidr).prefixlen
        except ValueError:
            return f"{self.cidr!r} is not a range of IPv4 addresses: write one like 10.0.0.0/16"
        if not 16 <= prefix <= 24:
            return f"a VPC of /{prefix} is too {'large' if prefix < 16 else 'small'}: write /16 to /24"
        if len(set(self.tiers)) != len(self.tiers):
            return "a tier stands twice: write each of public, private, isolated once"
        if self.nat != "none" and "public" not in self.tiers:
            return "a NAT gateway stands in a public subnet: add public to tiers, or write nat: none"
        if "private" not in self.tiers:
            return "containers stand in private subnets: add private to tiers"
        if len(set(self.endpoints)) != len(self.endpoints):
            return "an endpoint stands twice: write each once"
        return None

    def _subnet_misfit(self) -> str | None:
        if self.subnets is None:
            return None
        stated = self.subnets.tiers()
        if set(stated) != set(self.tiers):
            return f"subnets has {', '.join(stated)} and tiers has {', '.join(self.tiers)}: state the same in both"
        whole = ipaddress.IPv4Network(self.cidr)
        for tier, subnets in stated.items():
            if len(subnets) != self.subnet_zones:
                return f"subnets.{tier} has {len(subnets)} for {self.subnet_zones} zones: write one a zone"
            problem = next(filter(None, (_in_vpc(subnet, whole) for subnet in subnets)), None)
            if problem:
                return f"subnets.{tier}: {problem}"
        both = overlapping(subnet for subnets in stated.values() for subnet in subnets)
        return f"the subnets {both[0]} and {both[1]} overlap: choose other ranges" if both else None


def _in_vpc(subnet: str, whole: ipaddress.IPv4Network) -> str | None:
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError:
        return f"{subnet!r} is not a range of IPv4 addresses: write one like 10.0.1.0/24"
    if not 16 <= network.prefixlen <= 28:
        return f"a subnet of /{network.prefixlen} is not to be had: AWS makes /16 to /28"
    return None if network.subnet_of(whole) else f"{subnet} lies outside the VPC's {whole}"
