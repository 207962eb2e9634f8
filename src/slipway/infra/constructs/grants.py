"""What a task may do, from what it needs: the one place where rights of tasks are made.

A function of needs and stores; nothing else grants a task anything. Each statement has a name (its Sid), names what it
is about, and a wildcard has its reason in the statement. The platform stack makes roles of them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aws_cdk import Aws

from slipway.infra.constructs.stores import Stores, Table
from slipway.infra.topology import Workload
from slipway.manifest.sections.services import OBJECTS_PREFIX

# The tables that a part of the platform knows. A service of the user's may use each table that it names.
_OWN_TABLES: Final[Mapping[str, tuple[str, ...]]] = {"gateway": ("usage_plans", "usage_logs")}
# A profile of Bedrock that spreads over regions: its own id is the model's with the area before it.
_SPREAD: Final = re.compile(r"(global|us|us-gov|eu|apac|jp|au|ca)\.(?P<model>.+)")
BOOTSTRAPS: Final = "identity"  # the part that makes the first tenant and its administrator's key
ADMINISTRATOR_KEY: Final = "SLIPWAY_ADMINISTRATOR_KEY"
APP_LOGIN: Final = "slipway"  # the database login of the platform's parts, without rights of its own


@dataclass(frozen=True, slots=True)
class Statement:
    """One right. `reason` says why a wildcard in it is needed, and stands beside the policy."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reason: str | None = None

    def document(self) -> dict[str, Any]:
        """The statement as IAM writes it."""
        written: dict[str, Any] = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
        }
        return {**written, "Condition": dict(self.conditions)} if self.conditions else written


@dataclass(frozen=True, slots=True)
class BedrockModel:
    """A model of Bedrock by its id there, and the region in which it is called."""

    id: str
    region: str


@dataclass(frozen=True, slots=True)
class _Asker:
    workload: Workload
    stores: Stores
    models: Sequence[BedrockModel]


def grants_of(
    workload: Workload,
    stores: Stores,
    models: Sequence[BedrockModel],
    *,
    metrics: str | None = None,
    flags: str | None = None,
) -> tuple[Statement, ...]:
    """Every right of a workload's tasks. `metrics` is the ARN of the log group for metrics, when tasks are traced, and
    `flags` that of the feature flags."""
    found: dict[str, Statement] = {}
    asker = _Asker(workload, stores, models)
    for need in workload.needs:
        grant = _BY_NEED.get(need)
        statements = grant(asker) if grant else _table(need, stores)
        found.update((statement.sid, statement) for statement in statements)
    if workload.kind == "component" and workload.name == BOOTSTRAPS:
        found.update((statement.sid, statement) for statement in _administrator_key(stores))
    if workload.name in stores.volumes:
        found.update((statement.sid, statement) for statement in _volume(workload.name, stores))
    if metrics is not None:
        found.update((statement.sid, statement) for statement in _traces(metrics))
    if flags is not None:
        found["FeaturesRead"] = Statement(
            "FeaturesRead", ("appconfig:StartConfigurationSession", "appconfig:GetLatestConfiguration"), (flags,)
        )
    return tuple(found.values())


def tables_for(workload: Workload, stores: Stores) -> tuple[str, ...]:
    """The tables that a need for all of DynamoDB means."""
    known = _OWN_TABLES.get(workload.name, ())
    return tuple(name for name in stores.tables if workload.kind == "service" or name in known)


def accepted(statements: Iterable[Statement]) -> dict[str, str]:
    """The reasons of those statements that have a wildcard, by Sid."""
    return {each.sid: each.reason for each in statements if each.reason is not None}


def _postgres(asker: _Asker) -> Iterator[Statement]:
    """A sign-in by role, as the login without rights. Services of the user's sign in with a password."""
    database = asker.stores.postgres
    if database is not None and database.signs_in and asker.workload.kind == "component":
        login = f"dbuser:{database.resource_id}/{APP_LOGIN}"
        yield Statement("PostgresSignIn", ("rds-db:connect",), (_arn("rds-db", login),))


def _objects(asker: _Asker) -> Iterator[Statement]:
    bucket = asker.stores.objects
    if bucket is None or bucket.endpoint_url is not None:
        return
    prefix = "" if asker.workload.kind == "component" else OBJECTS_PREFIX
    yield Statement(
        "ObjectsList",
        ("s3:ListBucket",),
        (bucket.arn,),
        {"StringLike": {"s3:prefix": [f"{prefix}*"]}} if prefix else {},
    )
    yield Statement(
        "ObjectsReadWrite",
        ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
        (f"{bucket.arn}/{prefix}*",),
        reason="Objects are named when they are stored; the wildcard stays within this bucket's part.",
    )
    if bucket.key_arn is not None:
        yield _key("ObjectsKey", (bucket.key_arn,), "s3", ("kms:Decrypt", "kms:GenerateDataKey"))


def _dynamodb(asker: _Asker) -> Iterator[Statement]:
    for name in tables_for(asker.workload, asker.stores):
        yield from _table(name, asker.stores)


def _table(name: str, stores: Stores) -> Iterator[Statement]:
    table = stores.tables.get(name)
    if table is None:
        return
    yield Statement(
        f"Table{_word(name)}",
        (
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
            "dynamodb:Query",
            "dynamodb:BatchGetItem",
            "dynamodb:BatchWriteItem",
            "dynamodb:ConditionCheckItem",
            "dynamodb:DescribeTable",
        ),
        _table_arns(table),
    )
    if stores.tables_key_arn is not None:
        yield _key("TablesKey", (stores.tables_key_arn,), "dynamodb", ("kms:Decrypt", "kms:GenerateDataKey"))


def _table_arns(table: Table) -> tuple[str, ...]:
    return (table.arn, *(f"{table.arn}/index/{index}" for index in table.indexes))


def _neptune(asker: _Asker) -> Iterator[Statement]:
    graph = asker.stores.neptune
    if graph is None:
        return
    yield Statement(
        "NeptuneQuery",
        (
            "neptune-db:ReadDataViaQuery",
            "neptune-db:WriteDataViaQuery",
            "neptune-db:DeleteDataViaQuery",
            "neptune-db:GetQueryStatus",
            "neptune-db:CancelQuery",
        ),
        (_arn("neptune-db", f"{graph.resource_id}/*"),),
        reason="Neptune's rights name a cluster as its resource id with /* behind it; there is no narrower form.",
    )


def _opensearch(asker: _Asker) -> Iterator[Statement]:
    if asker.stores.opensearch is not None:
        yield Statement("OpensearchAccess", ("aoss:APIAccessAll",), (asker.stores.opensearch.arn,))


def _knowledge_base(asker: _Asker) -> Iterator[Statement]:
    if asker.stores.knowledge_base is not None:
        yield Statement("KnowledgeBaseRetrieve", ("bedrock:Retrieve",), (asker.stores.knowledge_base.arn,))


def _models(asker: _Asker) -> Iterator[Statement]:
    """The models of Bedrock that the manifest declares, and no other."""
    resources: dict[str, None] = {}
    spread = False
    for model in asker.models:
        profile = _SPREAD.fullmatch(model.id)
        if profile is None:
            resources[f"arn:{Aws.PARTITION}:bedrock:{model.region}::foundation-model/{model.id}"] = None
            continue
        spread = True
        resources[_arn("bedrock", f"inference-profile/{model.id}", model.region)] = None
        resources[f"arn:{Aws.PARTITION}:bedrock:*::foundation-model/{profile['model']}"] = None
        if profile[1] == "global":  # which names the model without a region
            resources[f"arn:{Aws.PARTITION}:bedrock:::foundation-model/{profile['model']}"] = None
    if resources:
        yield Statement(
            "ModelsInvoke",
            ("bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"),
            tuple(resources),
            reason="A profile of Bedrock calls the model in whichever region of its area has room; the model is named."
            if spread
            else None,
        )


def _administrator_key(stores: Stores) -> Iterator[Statement]:
    """To look whether the secret has a value, and to give it one."""
    actions = ("secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue")
    yield Statement("AdministratorKey", actions, (stores.secrets[ADMINISTRATOR_KEY],))
    if stores.secrets_key_arns:
        use = ("kms:Decrypt", "kms:GenerateDataKey")
        yield _key("AdministratorKeyKey", stores.secrets_key_arns, "secretsmanager", use)


def _volume(workload: str, stores: Stores) -> Iterator[Statement]:
    volume = stores.volumes[workload]
    yield Statement(
        "VolumeMount",
        ("elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"),
        (volume.file_system_arn,),
        {"StringEquals": {"elasticfilesystem:AccessPointArn": volume.access_point_arn}},
    )


def _traces(metrics_group_arn: str) -> Iterator[Statement]:
    yield Statement(
        "TracesWrite",
        (
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            "xray:GetSamplingStatisticSummaries",
        ),
        ("*",),
        reason="X-Ray has no resources that a right to write traces could name.",
    )
    yield Statement(
        "MetricsWrite",
        ("logs:CreateLogStream", "logs:PutLogEvents"),
        (metrics_group_arn, f"{metrics_group_arn}:log-stream:*"),
        reason="A collector names its log stream after its task; the group is named.",
    )


def read_secrets(arns: Iterable[str], key_arns: Iterable[str]) -> Iterator[Statement]:
    """What ECS needs to hand secrets to a task, before the task runs: a right of the execution role."""
    secrets = tuple(dict.fromkeys(arns))
    if not secrets:
        return
    yield Statement("SecretsRead", ("secretsmanager:GetSecretValue",), secrets)
    keys = tuple(dict.fromkeys(key_arns))
    if keys:
        yield _key("SecretsKey", keys, "secretsmanager", ("kms:Decrypt",))


def pull_image(repository_arn: str) -> Iterator[Statement]:
    """What ECS needs to fetch an image from the account's own registry."""
    yield Statement(
        "ImagePull",
        ("ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"),
        (repository_arn,),
    )
    yield Statement(
        "ImageLogin",
        ("ecr:GetAuthorizationToken",),
        ("*",),
        reason="A sign-in to the registry is one for the whole account; what may be pulled stands in ImagePull.",
    )


def write_logs(log_group_arn: str) -> Statement:
    """What ECS needs to write a task's output."""
    return Statement(
        "LogsWrite",
        ("logs:CreateLogStream", "logs:PutLogEvents"),
        (f"{log_group_arn}:log-stream:*",),
        reason="ECS names a log stream after its task; the group is named.",
    )


def _key(sid: str, keys: tuple[str, ...], service: str, actions: tuple[str, ...]) -> Statement:
    """The use of a key through one service alone."""
    via = f"{service}.{Aws.REGION}.{Aws.URL_SUFFIX}"
    return Statement(sid, actions, keys, {"StringEquals": {"kms:ViaService": via}})


def _arn(service: str, resource: str, region: str = Aws.REGION) -> str:
    return f"arn:{Aws.PARTITION}:{service}:{region}:{Aws.ACCOUNT_ID}:{resource}"


def _word(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))


_Grant = Callable[[_Asker], Iterator[Statement]]
_BY_NEED: Final[Mapping[str, _Grant]] = {
    "postgres": _postgres,
    "objects": _objects,
    "dynamodb": _dynamodb,
    "neptune": _neptune,
    "opensearch": _opensearch,
    "knowledge-base": _knowledge_base,
    "models": _models,
}
