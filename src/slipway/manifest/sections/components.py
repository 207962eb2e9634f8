"""`components`: which parts of the catalog run, and how large."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.catalog import SizeName
from slipway.manifest.sections.section import Section


class Scale(Section):
    """How many copies run at least and at most."""

    min: int = Field(default=1, ge=0, le=1000, description="Copies that always run.")
    max: int = Field(default=10, ge=1, le=1000, description="Copies that run at most.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise PydanticCustomError(
                "scale", "min is {min} and max is {max}: write a max of at least {min}", self.model_dump()
            )
        return self


class ComponentSettings(Section):
    """What can be set for a part of the catalog; its routes and needs are facts of the catalog."""

    size: SizeName | None = Field(default=None, description="Task size; left out, the catalog's own.")
    scale: Scale = Field(default=Scale(), description="How many copies run.")
