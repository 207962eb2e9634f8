"""`network`: the VPC, made from a range of addresses, or one that exists."""

import ipaddress
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import VPC_PATTERN, Section


class Network(Section):
    """Addresses, zones and tiers of subnets."""

    vpc: str | None = Field(
        default=None, pattern=VPC_PATTERN, description="A VPC that exists; then leave the other keys out."
    )
    cidr: str = Field(default="10.0.0.0/16", description="The VPC's range of addresses, /16 to /24.")
    azs: int = Field(default=2, ge=1, le=6, description="Availability zones.")
    nat: Literal["none", "single", "per-az"] = Field(
        default="single", description="How private subnets reach the internet: one NAT gateway, or one in each zone."
    )
    tiers: tuple[Literal["public", "private", "isolated"], ...] = Field(
        default=("public", "private"), min_length=1, description="Tiers of subnets in each zone."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problem = self._misfit()
        if problem:
            raise PydanticCustomError("network", "{problem}", {"problem": problem})
        return self

    def _misfit(self) -> str | None:
        if self.vpc:
            own = sorted(self.model_fields_set - {"vpc"})
            return f"vpc names a network that exists: remove {', '.join(own)}" if own else None
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
        return None
