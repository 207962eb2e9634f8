"""Charges of what keeps data and of what watches over it: databases, buckets, keys, logs, alarms."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

from slipway.operations.charges import ONE, Charge, Resource, Rule, Setting, amount, hours, number, span
from slipway.operations.prices import Range


def _cluster(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    kind = "neptune" if resource["Type"] == "AWS::Neptune::DBCluster" else "aurora"
    optimized = ".io-optimized" if resource["Properties"].get("StorageType") == "aurora-iopt1" else ""
    stored = setting.usage.stored_gb
    yield Charge(f"{kind}.storage{optimized}", Range(stored.low, stored.low, stored.expected, stored.high), "its data")
    if not optimized:
        yield Charge(f"{kind}.io", setting.usage.requests_millions.times(20), "20 reads and writes a request")
    if resource["Properties"].get("GlobalClusterIdentifier") is not None and kind == "aurora":
        yield Charge("aurora.global-io", setting.usage.requests_millions.times(4), "copies between the regions")


def _database_instance(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    properties = resource["Properties"]
    kind = "neptune" if resource["Type"] == "AWS::Neptune::DBInstance" else "aurora"
    instance = str(properties.get("DBInstanceClass", "unknown"))
    if instance != "db.serverless":
        yield hours(f"{kind}.{instance}", 1, f"one {instance}")
        return
    cluster = setting.target(properties.get("DBClusterIdentifier")).get("Properties", {})
    capacity = cluster.get("ServerlessV2ScalingConfiguration") or cluster.get("ServerlessScalingConfiguration") or {}
    least, most = number(capacity.get("MinCapacity"), 1), number(capacity.get("MaxCapacity"), 1)
    unit = "neptune.ncu" if kind == "neptune" else "aurora.acu"
    optimized = ".io-optimized" if cluster.get("StorageType") == "aurora-iopt1" else ""
    yield hours(f"{unit}{optimized}", setting.usage.between(least, most), f"{span(least, most)} capacity units")


def _replication_group(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    del setting
    properties = resource["Properties"]
    nodes = number(properties.get("NumCacheClusters"), 0)
    if not nodes:
        replicas = number(properties.get("ReplicasPerNodeGroup"), 0)
        nodes = number(properties.get("NumNodeGroups"), 1) * (replicas + 1)
    engine, node = properties.get("Engine", "redis"), properties.get("CacheNodeType", "unknown")
    yield hours(f"elasticache.{engine}.{node}", int(nodes), f"{amount(nodes)} {node}")


def _table(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    properties = resource["Properties"]
    replicas = max(len(properties.get("Replicas", ())), 1)
    requests = setting.evenly(setting.usage.requests_millions, resource["Type"])
    stored = setting.evenly(setting.usage.stored_gb, resource["Type"]).times("0.1")
    copies = f" in {replicas} regions" if replicas > 1 else ""
    if properties.get("BillingMode") == "PAY_PER_REQUEST":
        yield Charge("dynamodb.write", requests.times(2 * replicas), f"two writes a request{copies}")
        yield Charge("dynamodb.read", requests.times(2), "two reads a request")
    else:
        yield Charge("dynamodb.provisioned", ONE, "provisioned capacity")  # has no price here, and is said
    yield Charge("dynamodb.storage", stored.times(replicas), f"its data{copies}")
    yield Charge("dynamodb.point-in-time", stored, "point-in-time recovery")


def _bucket(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    stored = setting.evenly(setting.usage.objects_gb, resource["Type"])
    thousands = setting.evenly(setting.usage.requests_millions, resource["Type"]).times(1000)
    yield Charge("s3.storage", stored, "its objects")
    yield Charge("s3.put", thousands.times("0.1"), "a write for each ten requests")
    yield Charge("s3.get", thousands.times("0.5"), "a read for each two requests")
    if "ReplicationConfiguration" in resource["Properties"]:
        yield Charge("transfer.region", stored.times("0.2"), "copies of what is new")
        yield Charge("s3.replication-time-control", stored.times("0.2"), "copies within 15 minutes")


def _file_system(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    yield Charge("efs.storage", setting.evenly(setting.usage.stored_gb, resource["Type"]), "its files")


def _vault(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    stored = setting.evenly(setting.usage.stored_gb, resource["Type"])
    yield Charge("backup.storage", stored.times(3), "three times the data, over all vaults")


def _collection(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    # The first collection of an account holds one unit to index and one to search with standby, half of each without.
    standby = resource["Properties"].get("StandbyReplicas", "ENABLED") == "ENABLED"
    units = Decimal(2) if standby else Decimal(1)
    count = max(setting.counts.get(resource["Type"], 1), 1)
    used = setting.usage.between(units / count, units * 4 / count)
    yield hours("aoss.ocu", used, f"{amount(units)} capacity units or more, shared by all collections")


def _vector_index(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    stored = setting.evenly(setting.usage.stored_gb, resource["Type"]).times("0.05")
    yield Charge("s3vectors.storage", stored, "vectors with their text, a twentieth of the data")
    yield Charge("s3vectors.put", stored, "all of it written once a month")
    queries = setting.evenly(setting.usage.requests_millions, resource["Type"]).times("0.1")
    yield Charge("s3vectors.query", queries, "a search for each ten requests")
    numbers = number(resource["Properties"].get("Dimension"), 1024)
    # A million searches over 100,000 vectors of 4 bytes a number.
    yield Charge("s3vectors.processed", queries.times(numbers * 4 / 10), "100,000 vectors in each search")


def _knowledge_base(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    configuration = resource["Properties"].get("KnowledgeBaseConfiguration", {})
    arn = configuration.get("VectorKnowledgeBaseConfiguration", {}).get("EmbeddingModelArn", "")
    model = str(arn).rpartition("foundation-model/")[2].partition("'")[0]
    # A hundredth of the data is text that is new or changed, and a gigabyte of text has some 250 million tokens.
    tokens = setting.evenly(setting.usage.stored_gb, resource["Type"]).times("2.5")
    yield Charge(f"bedrock.{model}", tokens, "millions of tokens of new and changed documents")


def _domain(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    del setting
    properties = resource["Properties"]
    cluster = properties.get("ClusterConfig", {})
    nodes, kind = int(number(cluster.get("InstanceCount"), 1)), cluster.get("InstanceType", "unknown")
    yield hours(f"opensearch.{kind}", nodes, f"{nodes} {kind}")
    if cluster.get("DedicatedMasterEnabled"):
        masters = int(number(cluster.get("DedicatedMasterCount"), 3))
        yield hours(f"opensearch.{cluster.get('DedicatedMasterType')}", masters, f"{masters} masters")
    disk = number(properties.get("EBSOptions", {}).get("VolumeSize"), 10)
    yield Charge("opensearch.gp3", Range.fixed(disk * nodes), f"{amount(disk)} GB each")


def _key(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    yield Charge("kms.key", ONE, "one key")
    requests = setting.evenly(setting.usage.requests_millions, resource["Type"]).times(100)
    yield Charge("kms.requests", requests.times("0.5"), "a call for each two requests, over all keys")


def _user_pool(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    tier = str(resource["Properties"].get("UserPoolTier", "ESSENTIALS")).lower()
    yield Charge(f"cognito.{tier}", setting.usage.users, f"users of a month, tier {tier}")


def _web_acl(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    rules = len(resource["Properties"].get("Rules", ()))
    yield Charge("waf.acl", ONE, "one web ACL")
    yield Charge("waf.rule", Range.fixed(rules), f"{rules} rules")
    yield Charge("waf.requests", setting.evenly(setting.usage.requests_millions, resource["Type"]), "requests")


def _detector(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    del resource
    yield Charge("guardduty.gb", setting.usage.logs_gb.times("0.5"), "flow and DNS logs")
    yield Charge("guardduty.events", setting.usage.requests_millions.times("0.2"), "calls of AWS's API")


def _log_group(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    written = setting.evenly(setting.usage.logs_gb, resource["Type"])
    months = number(resource["Properties"].get("RetentionInDays"), 3650) / 30
    yield Charge("logs.ingest", written, "log lines, over all log groups")
    yield Charge("logs.storage", written.times(months).times("0.15"), "kept lines, compressed to about 15 %")


def _alarm(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    del setting
    metrics = max(sum("MetricStat" in each for each in resource["Properties"].get("Metrics", ())), 1)
    yield Charge("cloudwatch.alarm", Range.fixed(metrics), f"over {metrics} metric{'s' if metrics > 1 else ''}")


def _metric_filter(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    del setting
    metrics = len(resource["Properties"].get("MetricTransformations", (1,)))
    yield Charge("cloudwatch.metric", Range.fixed(metrics), "a metric of its own")


def _canary(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    del resource, setting
    yield Charge("cloudwatch.canary", Range.fixed(8_760), "a run every 5 minutes")


def _single(price: str, what: str, count: int = 1) -> Rule:
    def rule(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
        del resource, setting
        yield Charge(price, Range.fixed(count), what)

    return rule


def _messages(price: str) -> Rule:
    def rule(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
        yield Charge(price, setting.evenly(setting.usage.requests_millions, resource["Type"]).times("0.1"), "messages")

    return rule


def _build(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    del resource
    yield Charge("codebuild.minute", setting.usage.load.times(100), "builds of an image, as they are started")


STORES: Final[Mapping[str, Rule]] = {
    "AWS::Backup::BackupVault": _vault,
    "AWS::Bedrock::KnowledgeBase": _knowledge_base,
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::CompositeAlarm": _single("cloudwatch.composite-alarm", "one alarm over others"),
    "AWS::CloudWatch::Dashboard": _single("cloudwatch.dashboard", "one dashboard"),
    "AWS::CodeBuild::Project": _build,
    "AWS::Cognito::UserPool": _user_pool,
    "AWS::DynamoDB::GlobalTable": _table,
    "AWS::DynamoDB::Table": _table,
    "AWS::ECR::Repository": _single("ecr.storage", "5 GB of images", 5),
    "AWS::EFS::FileSystem": _file_system,
    "AWS::ElastiCache::ReplicationGroup": _replication_group,
    "AWS::GuardDuty::Detector": _detector,
    "AWS::KMS::Key": _key,
    "AWS::KMS::ReplicaKey": _key,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::Logs::MetricFilter": _metric_filter,
    "AWS::Neptune::DBCluster": _cluster,
    "AWS::Neptune::DBInstance": _database_instance,
    "AWS::OpenSearchServerless::Collection": _collection,
    "AWS::OpenSearchService::Domain": _domain,
    "AWS::RDS::DBCluster": _cluster,
    "AWS::RDS::DBInstance": _database_instance,
    "AWS::S3::Bucket": _bucket,
    "AWS::S3Vectors::Index": _vector_index,
    "AWS::SNS::Topic": _messages("sns.messages"),
    "AWS::SQS::Queue": _messages("sqs.messages"),
    "AWS::SecretsManager::Secret": _single("secrets.secret", "one secret"),
    "AWS::Synthetics::Canary": _canary,
    "AWS::WAFv2::WebACL": _web_acl,
}
