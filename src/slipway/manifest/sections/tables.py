"""`data.dynamodb`: tables of DynamoDB, billed by the request, encrypted, restorable to any second."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import ATTRIBUTE_PATTERN, NeedName, Section
from slipway.manifest.units import Duration

Attribute = Annotated[str, Field(pattern=ATTRIBUTE_PATTERN)]


class TableIndex(Section):
    """Another order in which a table's items can be asked for (a global secondary index with all attributes)."""

    hash: Attribute = Field(description="The attribute that items are found by.")
    range: Attribute | None = Field(default=None, description="The attribute that sorts them.")

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.hash == self.range:
            raise PydanticCustomError("table", "hash and range are one attribute: remove range")
        return self


class Table(TableIndex):
    """One table. Attributes of keys are texts, but those under `numbers`."""

    indexes: Mapping[NeedName, TableIndex] = Field(
        default={}, max_length=20, description="Further orders, by name; at most 20."
    )
    ttl: Attribute | None = Field(
        default=None, description="The attribute with the second (since 1970) after which an item is removed."
    )
    numbers: tuple[Attribute, ...] = Field(default=(), description="Attributes of keys that are numbers.")

    def key_attributes(self) -> tuple[str, ...]:
        """Every attribute that stands in a key of the table or of an index, sorted."""
        keys = (self, *self.indexes.values())
        return tuple(sorted({name for key in keys for name in (key.hash, key.range) if name is not None}))

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name in self.numbers:
            if name not in self.key_attributes():
                raise PydanticCustomError(
                    "table",
                    "numbers has {name}, which is in no key: DynamoDB takes the types of keys alone; remove it",
                    {"name": name},
                )
        if self.ttl is not None and self.ttl in self.key_attributes() and self.ttl not in self.numbers:
            raise PydanticCustomError("table", "ttl is a number: add {ttl} to numbers", {"ttl": self.ttl})
        return self


class DynamoDB(Section):
    """Tables, and how they are kept. A service that needs `dynamodb` may use all of them, or one by its name."""

    tables: Mapping[NeedName, Table] = Field(default={}, description="Tables by name, like usage_plans.")
    point_in_time: Duration = Field(
        default=Duration.of(days=35), description="How far back tables can be restored to any second (1d to 35d)."
    )
    copy_to_recovery_region: bool = Field(
        default=False, description="Copy each change to recovery.region as it is made (global tables)."
    )

    @model_validator(mode="after")
    def _days(self) -> Self:
        day = Duration.of(days=1).milliseconds
        if self.point_in_time.milliseconds % day or not 1 <= self.point_in_time.days <= 35:
            raise PydanticCustomError("table", "point_in_time is 1d to 35d: DynamoDB keeps no other")
        return self
