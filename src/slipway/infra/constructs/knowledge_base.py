"""A knowledge base of Bedrock: documents from a part of a bucket, their vectors in an index of S3 Vectors.

Everything is a plain resource of CloudFormation; without a request it costs its key and the gigabytes that it keeps
(ADR 20). A schedule has Bedrock look for documents that are new, changed or gone. Used by the data stack.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aws_cdk import Aws, aws_bedrock, aws_s3vectors, aws_scheduler
from constructs import Construct

from slipway.infra.constructs.grants import Statement
from slipway.infra.constructs.keys import KeyUser
from slipway.infra.constructs.retention import keep
from slipway.infra.constructs.roles import role

# Bedrock writes each chunk's text and its source beside the vector. Keys that can be filtered by may have 2 KB in all,
# so these two are kept apart from them.
_TEXT_KEYS: Final = ("AMAZON_BEDROCK_TEXT", "AMAZON_BEDROCK_METADATA")
_TWO_HOURS_S: Final = 7200  # Scheduler tries again as long: a job that is under way refuses a second one
_TRIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Where the documents lie. `key_arn` is what the bucket is encrypted with, None for S3's own key."""

    bucket_arn: str
    key_arn: str | None
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """How they become vectors: the model by its id at Bedrock, and numbers. `chosen` says that the model is told how
    long its vectors are."""

    model: str
    dimensions: int
    chosen: bool
    chunk_tokens: int
    overlap_percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeBaseProps:
    """`name` is what its names begin with; `key_arn` encrypts its vectors, and what it keeps while it reads."""

    name: str
    documents: Documents
    vectors: Vectors
    key_arn: str
    refresh_minutes: int
    lasting: bool


class KnowledgeBase(Construct):
    """One knowledge base, by its `id` and `arn`. `schedule_group` is what metrics know its refreshing by."""

    def __init__(self, scope: Construct, construct_id: str, props: KnowledgeBaseProps) -> None:
        super().__init__(scope, construct_id)
        index = self._index(props)
        self._role = role(
            self,
            "Role",
            service="bedrock.amazonaws.com",
            description=f"What the knowledge base of {props.name} reads and writes",
            statements=tuple(_rights(props, index.attr_index_arn)),
            conditions={
                "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                "ArnLike": {
                    "aws:SourceArn": f"arn:{Aws.PARTITION}:bedrock:{Aws.REGION}:{Aws.ACCOUNT_ID}:knowledge-base/*"
                },
            },
        )
        self.resource = self._base(props, index)
        self.id = self.resource.attr_knowledge_base_id
        self.arn = self.resource.attr_knowledge_base_arn
        self.source_id = self._source(props).attr_data_source_id
        self.schedule_group = f"{props.name}-knowledge"
        self._refresh(props)

    def _index(self, props: KnowledgeBaseProps) -> aws_s3vectors.CfnIndex:
        """Without names of their own: a new length of vectors makes a new index beside the old one."""
        bucket = aws_s3vectors.CfnVectorBucket(
            self,
            "VectorBucket",
            encryption_configuration=aws_s3vectors.CfnVectorBucket.EncryptionConfigurationProperty(
                sse_type="aws:kms", kms_key_arn=props.key_arn
            ),
        )
        keep(bucket, props.lasting)
        index = aws_s3vectors.CfnIndex(
            self,
            "Index",
            vector_bucket_arn=bucket.attr_vector_bucket_arn,
            data_type="float32",
            dimension=props.vectors.dimensions,
            distance_metric="cosine",
            metadata_configuration=aws_s3vectors.CfnIndex.MetadataConfigurationProperty(
                non_filterable_metadata_keys=list(_TEXT_KEYS)
            ),
        )
        keep(index, props.lasting)
        return index

    def _base(self, props: KnowledgeBaseProps, index: aws_s3vectors.CfnIndex) -> aws_bedrock.CfnKnowledgeBase:
        kind, vectors = aws_bedrock.CfnKnowledgeBase, props.vectors
        chosen = kind.EmbeddingModelConfigurationProperty(
            bedrock_embedding_model_configuration=kind.BedrockEmbeddingModelConfigurationProperty(
                dimensions=vectors.dimensions, embedding_data_type="FLOAT32"
            )
        )
        return kind(
            self,
            "Base",
            name=_named(props.name, vectors),
            description=f"Documents of {props.name}",
            role_arn=self._role.attr_arn,
            knowledge_base_configuration=kind.KnowledgeBaseConfigurationProperty(
                type="VECTOR",
                vector_knowledge_base_configuration=kind.VectorKnowledgeBaseConfigurationProperty(
                    embedding_model_arn=_model_arn(vectors.model),
                    embedding_model_configuration=chosen if vectors.chosen else None,
                ),
            ),
            storage_configuration=kind.StorageConfigurationProperty(
                type="S3_VECTORS",
                s3_vectors_configuration=kind.S3VectorsConfigurationProperty(index_arn=index.attr_index_arn),
            ),
        )

    def _source(self, props: KnowledgeBaseProps) -> aws_bedrock.CfnDataSource:
        kind, vectors = aws_bedrock.CfnDataSource, props.vectors
        return kind(
            self,
            "Documents",
            knowledge_base_id=self.id,
            # Another chunking is another source, which is made before the old one goes.
            name=f"documents-{vectors.chunk_tokens}-{vectors.overlap_percent}",
            data_deletion_policy="RETAIN" if props.lasting else "DELETE",
            data_source_configuration=kind.DataSourceConfigurationProperty(
                type="S3",
                s3_configuration=kind.S3DataSourceConfigurationProperty(
                    bucket_arn=props.documents.bucket_arn,
                    bucket_owner_account_id=Aws.ACCOUNT_ID,
                    inclusion_prefixes=[props.documents.prefix],
                ),
            ),
            server_side_encryption_configuration=kind.ServerSideEncryptionConfigurationProperty(
                kms_key_arn=props.key_arn
            ),
            vector_ingestion_configuration=kind.VectorIngestionConfigurationProperty(
                chunking_configuration=kind.ChunkingConfigurationProperty(
                    chunking_strategy="FIXED_SIZE",
                    fixed_size_chunking_configuration=kind.FixedSizeChunkingConfigurationProperty(
                        max_tokens=vectors.chunk_tokens, overlap_percentage=vectors.overlap_percent
                    ),
                )
            ),
        )

    def _refresh(self, props: KnowledgeBaseProps) -> None:
        """Scheduler itself calls Bedrock: no code of ours runs for it."""
        group = aws_scheduler.CfnScheduleGroup(self, "Group", name=self.schedule_group)
        caller = role(
            self,
            "Refresher",
            service="scheduler.amazonaws.com",
            description=f"Has the knowledge base of {props.name} look for changed documents",
            statements=(Statement("StartIngestion", ("bedrock:StartIngestionJob",), (self.arn,)),),
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID, "aws:SourceArn": group.attr_arn}},
        )
        schedule = aws_scheduler.CfnSchedule
        schedule(
            self,
            "Refresh",
            description=f"Documents of {props.name} that are new, changed or gone",
            group_name=group.ref,
            schedule_expression=f"rate({props.refresh_minutes} minutes)",
            flexible_time_window=schedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=schedule.TargetProperty(
                arn=f"arn:{Aws.PARTITION}:scheduler:::aws-sdk:bedrockagent:startIngestionJob",
                role_arn=caller.attr_arn,
                input=json.dumps({"KnowledgeBaseId": self.id, "DataSourceId": self.source_id}),
                retry_policy=schedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=min(_TWO_HOURS_S, props.refresh_minutes * 60),
                    maximum_retry_attempts=_TRIES,
                ),
            ),
        )


def index_user() -> KeyUser:
    """S3 Vectors, which orders an index anew by itself: for vector buckets of this account and region.

    Source: "Data protection and encryption in S3 Vectors", Amazon S3 User Guide.
    """
    return KeyUser(
        "VectorIndexes",
        "indexing.s3vectors.amazonaws.com",
        ("kms:Decrypt",),
        {
            "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
            "ArnLike": {"aws:SourceArn": f"arn:{Aws.PARTITION}:s3vectors:{Aws.REGION}:{Aws.ACCOUNT_ID}:bucket/*"},
            "ForAnyValue:StringEquals": {
                "kms:EncryptionContextKeys": ["aws:s3vectors:arn", "aws:s3vectors:resource-id"]
            },
        },
    )


def _rights(props: KnowledgeBaseProps, index_arn: str) -> Iterator[Statement]:
    """What Bedrock does in the knowledge base's name. Source: "Create a service role for Amazon Bedrock Knowledge
    Bases", Amazon Bedrock User Guide."""
    documents = props.documents
    own = {"StringEquals": {"aws:ResourceAccount": Aws.ACCOUNT_ID}}
    yield Statement("Embed", ("bedrock:InvokeModel",), (_model_arn(props.vectors.model),))
    yield Statement(
        "Vectors",
        (
            "s3vectors:GetIndex",
            "s3vectors:PutVectors",
            "s3vectors:GetVectors",
            "s3vectors:DeleteVectors",
            "s3vectors:QueryVectors",
        ),
        (index_arn,),
    )
    yield Statement("VectorsKey", ("kms:Decrypt", "kms:GenerateDataKey"), (props.key_arn,))
    yield Statement(
        "DocumentsList",
        ("s3:ListBucket",),
        (documents.bucket_arn,),
        {**own, "StringLike": {"s3:prefix": [f"{documents.prefix}*"]}},
    )
    yield Statement(
        "DocumentsRead",
        ("s3:GetObject",),
        (f"{documents.bucket_arn}/{documents.prefix}*",),
        own,
        reason="Documents are named when they are stored; the wildcard stays within the knowledge base's prefix.",
    )
    if documents.key_arn is not None:
        via = {"StringEquals": {"kms:ViaService": f"s3.{Aws.REGION}.{Aws.URL_SUFFIX}"}}
        yield Statement("DocumentsKey", ("kms:Decrypt",), (documents.key_arn,), via)


def _model_arn(model: str) -> str:
    return f"arn:{Aws.PARTITION}:bedrock:{Aws.REGION}::foundation-model/{model}"


def _named(name: str, vectors: Vectors) -> str:
    """Other vectors are another knowledge base, which is made before the old one goes and so has another name."""
    told = f"{vectors.model} {vectors.dimensions}"
    return f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
