"""`capacity` and `bastion`: instances, where containers run on them."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import KUBERNETES_PATTERN, Instance, Section
from slipway.manifest.units import Percent, Size

_WHOLE = Percent(10_000)


class Capacity(Section):
    """The instances of `compute: ec2` (an auto scaling group) or `compute: eks` (a node group); Fargate has none."""

    instance: Instance = Field(default="t3.medium", description="Type of instance.")
    min: int = Field(default=1, ge=0, le=100, description="Instances that always run.")
    max: int = Field(default=5, ge=1, le=100, description="Instances that run at most.")
    target: Percent = Field(
        default=_WHOLE, description="How full the instances are to be before another one is added; 100%: no spare."
    )
    disk: Size = Field(default=Size(30 * 2**30), description="Disk of each instance.")
    # AWS charges six times as much for a control plane past its standard support, which 1.35 has until 2027-03-27.
    kubernetes: str = Field(
        default="1.35", pattern=KUBERNETES_PATTERN, description="For `compute: eks`: the version of its control plane."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min > self.max:
            raise PydanticCustomError(
                "capacity", "min is {min} and max is {max}: write a max of at least {min}",
                {"min": self.min, "max": self.max},
            )  # fmt: skip
        if not Percent(100) <= self.target <= _WHOLE:
            raise PydanticCustomError("capacity", "target is 1% to 100%: ECS takes no other")
        if self.disk < Size(30 * 2**30):
            raise PydanticCustomError("capacity", "disk is at least 30GiB: the instance's image is as large")
        return self


class Bastion(Section):
    """An instance in a private subnet for those who operate the platform, reached by Session Manager alone."""

    instance: Instance = Field(default="t3.large", description="Type of instance.")
    disk: Size = Field(default=Size(50 * 2**30), description="Its disk.")
