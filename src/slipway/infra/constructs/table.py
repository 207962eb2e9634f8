"""A table of DynamoDB: billed by the request, encrypted with the platform's key, restorable to any second.

Every table is a global one, if only with a single replica: so a copy in the recovery region can be added to a table
that has data, which a plain table would have to be replaced for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aws_cdk import CfnTag, aws_dynamodb
from constructs import Construct

from slipway.infra.constructs.retention import keep

GlobalTable = aws_dynamodb.CfnGlobalTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An order in which items are asked for: found by `hash`, sorted by `range`."""

    hash: str
    range: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One region in which a table stands, and the key that encrypts it there."""

    region: str
    key_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableProps:
    """`numbers` are key attributes that are numbers; `tags` stand here because each replica has its own.

    The first of `replicas` is the one in the stack's own region.
    """

    key: Index
    indexes: Mapping[str, Index]
    numbers: Sequence[str]
    ttl: str | None
    point_in_time_days: int
    replicas: Sequence[Replica]
    lasting: bool
    tags: Mapping[str, str] = field(default_factory=dict)


class Table(Construct):
    """One table; `name` and `arn` are those in the stack's own region."""

    def __init__(self, scope: Construct, construct_id: str, props: TableProps) -> None:
        super().__init__(scope, construct_id)
        self.indexes = tuple(sorted(props.indexes))
        self.resource = GlobalTable(
            self,
            "Table",
            billing_mode="PAY_PER_REQUEST",
            attribute_definitions=_attributes(props),
            key_schema=_key(props.key),
            global_secondary_indexes=[
                GlobalTable.GlobalSecondaryIndexProperty(
                    index_name=name,
                    key_schema=_key(index),
                    projection=GlobalTable.ProjectionProperty(projection_type="ALL"),
                )
                for name, index in sorted(props.indexes.items())
            ]
            or None,
            sse_specification=GlobalTable.SSESpecificationProperty(sse_enabled=True, sse_type="KMS"),
            # What a replica has to be told of each change; it costs nothing while nobody reads it.
            stream_specification=GlobalTable.StreamSpecificationProperty(stream_view_type="NEW_AND_OLD_IMAGES"),
            time_to_live_specification=None
            if props.ttl is None
            else GlobalTable.TimeToLiveSpecificationProperty(enabled=True, attribute_name=props.ttl),
            replicas=[_replica(replica, props) for replica in props.replicas],
        )
        keep(self.resource, props.lasting)
        self.name = self.resource.ref
        self.arn = self.resource.attr_arn


def _attributes(props: TableProps) -> list[GlobalTable.AttributeDefinitionProperty]:
    keys = (props.key, *props.indexes.values())
    names = sorted({name for key in keys for name in (key.hash, key.range) if name is not None})
    return [
        GlobalTable.AttributeDefinitionProperty(
            attribute_name=name, attribute_type="N" if name in props.numbers else "S"
        )
        for name in names
    ]


def _key(index: Index) -> list[GlobalTable.KeySchemaProperty]:
    schema = [GlobalTable.KeySchemaProperty(attribute_name=index.hash, key_type="HASH")]
    if index.range is not None:
        schema.append(GlobalTable.KeySchemaProperty(attribute_name=index.range, key_type="RANGE"))
    return schema


def _replica(replica: Replica, props: TableProps) -> GlobalTable.ReplicaSpecificationProperty:
    return GlobalTable.ReplicaSpecificationProperty(
        region=replica.region,
        sse_specification=GlobalTable.ReplicaSSESpecificationProperty(kms_master_key_id=replica.key_arn),
        point_in_time_recovery_specification=GlobalTable.PointInTimeRecoverySpecificationProperty(
            point_in_time_recovery_enabled=True, recovery_period_in_days=props.point_in_time_days
        ),
        deletion_protection_enabled=props.lasting,
        tags=[CfnTag(key=key, value=value) for key, value in sorted(props.tags.items())],
    )
