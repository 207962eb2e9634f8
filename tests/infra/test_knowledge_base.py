"""The knowledge base: its numbers, what it may read and write, who may ask it, and what becomes of its vectors."""

import json
from decimal import Decimal
from typing import Any

import pytest

from slipway.infra.app import Resource
from slipway.operations.charges import Setting, counted
from slipway.operations.charges_stores import STORES
from slipway.operations.prices import Range, table
from slipway.operations.references import StackState
from tests.infra.data_stacks import data
from tests.infra.ground import foundation
from tests.infra.synthesis import assembly, mutated, only

BASE = "AWS::Bedrock::KnowledgeBase"
SOURCE = "AWS::Bedrock::DataSource"
INDEX = "AWS::S3Vectors::Index"
BUCKET = "AWS::S3Vectors::VectorBucket"
SCHEDULE = "AWS::Scheduler::Schedule"


def with_base(**section: Any) -> dict[str, Resource]:
    """The data stack of agent-gateways with other numbers."""
    return data("agent-gateways", "prod", {"agents": {"knowledge_base": section}})


def properties(resources: dict[str, Resource], kind: str) -> Any:
    return only(resources, kind)["Properties"]


def rights(resources: dict[str, Resource], service: str) -> dict[str, Any]:
    """The statements of the one role that a service takes, by Sid."""
    [role] = [
        each["Properties"]
        for name, each in resources.items()
        if name.startswith("Knowledge")
        and each["Type"] == "AWS::IAM::Role"
        and each["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": service}
    ]
    return {each["Sid"]: each for each in role["Policies"][0]["PolicyDocument"]["Statement"]}


def trust(resources: dict[str, Resource], service: str) -> Any:
    [found] = [
        each["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]
        for name, each in resources.items()
        if name.startswith("Knowledge")
        and each["Type"] == "AWS::IAM::Role"
        and each["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": service}
    ]
    return found["Condition"]


@pytest.mark.requirement("SVC-03", "T")
def test_documents_are_cut_and_read_as_the_manifest_says() -> None:
    source = properties(data("agent-gateways", "prod"), SOURCE)
    chunking = source["VectorIngestionConfiguration"]["ChunkingConfiguration"]
    assert chunking == {
        "ChunkingStrategy": "FIXED_SIZE",
        "FixedSizeChunkingConfiguration": {"MaxTokens": 300, "OverlapPercentage": 20},
    }
    assert source["DataSourceConfiguration"]["S3Configuration"]["InclusionPrefixes"] == ["knowledge-base/"]
    assert source["ServerSideEncryptionConfiguration"]["KmsKeyArn"].endswith(":key/knowledge-base")
    changed = properties(with_base(chunk_tokens=512, overlap="10%", prefix="handbooks/"), SOURCE)
    chunking = changed["VectorIngestionConfiguration"]["ChunkingConfiguration"]
    assert chunking["FixedSizeChunkingConfiguration"] == {"MaxTokens": 512, "OverlapPercentage": 10}
    assert changed["DataSourceConfiguration"]["S3Configuration"]["InclusionPrefixes"] == ["handbooks/"]
    assert changed["Name"] != source["Name"]  # a new source is made beside the old one


@pytest.mark.requirement("SVC-03", "T")
def test_the_index_and_the_model_have_the_same_length_of_vectors() -> None:
    for section, length in (({}, 1024), ({"dimensions": 256}, 256)):
        resources = with_base(**section)
        index, base = properties(resources, INDEX), properties(resources, BASE)
        vectors = base["KnowledgeBaseConfiguration"]["VectorKnowledgeBaseConfiguration"]
        chosen = vectors["EmbeddingModelConfiguration"]["BedrockEmbeddingModelConfiguration"]
        assert (index["Dimension"], chosen["Dimensions"]) == (length, length)
        assert (index["DataType"], index["DistanceMetric"]) == ("float32", "cosine")
        assert set(index["MetadataConfiguration"]["NonFilterableMetadataKeys"]) == {
            "AMAZON_BEDROCK_TEXT",
            "AMAZON_BEDROCK_METADATA",
        }
    names = {properties(with_base(dimensions=length), BASE)["Name"] for length in (256, 512, 1024)}
    assert len(names) == 3


@pytest.mark.requirement("SVC-03", "T")
def test_a_model_without_a_choice_of_lengths_is_not_told_one() -> None:
    base = properties(with_base(embeddings="cohere.embed-multilingual-v3"), BASE)
    vectors = base["KnowledgeBaseConfiguration"]["VectorKnowledgeBaseConfiguration"]
    assert "EmbeddingModelConfiguration" not in vectors
    assert str(vectors["EmbeddingModelArn"]).endswith("foundation-model/cohere.embed-multilingual-v3']]}")


@pytest.mark.requirement("SVC-03", "T")
def test_it_reads_its_own_documents_and_writes_its_own_index_and_nothing_else() -> None:
    resources = data("agent-gateways", "prod")
    found = rights(resources, "bedrock.amazonaws.com")
    assert set(found) == {"Embed", "Vectors", "VectorsKey", "DocumentsList", "DocumentsRead", "DocumentsKey"}
    assert found["Embed"]["Action"] == ["bedrock:InvokeModel"]
    assert "amazon.titan-embed-text-v2:0" in str(found["Embed"]["Resource"])
    [index] = [name for name, each in resources.items() if each["Type"] == INDEX]
    assert found["Vectors"]["Resource"] == [{"Fn::GetAtt": [index, "IndexArn"]}]
    assert not [action for action in found["Vectors"]["Action"] if "*" in action]
    assert found["DocumentsList"]["Condition"]["StringLike"] == {"s3:prefix": ["knowledge-base/*"]}
    assert found["DocumentsRead"]["Action"] == ["s3:GetObject"]
    assert "/knowledge-base/*" in str(found["DocumentsRead"]["Resource"])
    assert found["VectorsKey"]["Resource"] == ["arn:aws:kms:us-east-1:123456789012:key/knowledge-base"]
    assert found["DocumentsKey"]["Resource"] == ["arn:aws:kms:us-east-1:123456789012:key/objects"]
    condition = trust(resources, "bedrock.amazonaws.com")
    assert condition["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    assert ":knowledge-base/*" in str(condition["ArnLike"])


@pytest.mark.requirement("SVC-03", "T")
def test_it_looks_for_changed_documents_as_often_as_the_manifest_says() -> None:
    resources = data("agent-gateways", "prod")
    schedule = properties(resources, SCHEDULE)
    assert schedule["ScheduleExpression"] == "rate(60 minutes)"
    assert str(schedule["Target"]["Arn"]).endswith(":scheduler:::aws-sdk:bedrockagent:startIngestionJob']]}")
    written = "".join(
        part if isinstance(part, str) else part["Fn::GetAtt"][1] for part in schedule["Target"]["Input"]["Fn::Join"][1]
    )
    assert json.loads(written) == {"KnowledgeBaseId": "KnowledgeBaseId", "DataSourceId": "DataSourceId"}
    assert rights(resources, "scheduler.amazonaws.com").keys() == {"StartIngestion"}
    assert properties(with_base(refresh="15m"), SCHEDULE)["ScheduleExpression"] == "rate(15 minutes)"
    # Tried again for two hours at most, and never beyond the next time.
    retries = [properties(with_base(refresh=each), SCHEDULE)["Target"]["RetryPolicy"] for each in ("15m", "1d")]
    assert [each["MaximumEventAgeInSeconds"] for each in retries] == [900, 7200]


@pytest.mark.requirement("SVC-03", "T")
def test_its_vectors_outlive_the_stack_but_for_a_preview() -> None:
    resources = data("agent-gateways", "prod")
    for kind in (INDEX, BUCKET):
        assert {only(resources, kind)[policy] for policy in ("DeletionPolicy", "UpdateReplacePolicy")} == {"Retain"}
    assert properties(resources, SOURCE)["DataDeletionPolicy"] == "RETAIN"
    encryption = properties(resources, BUCKET)["EncryptionConfiguration"]
    assert encryption == {"SseType": "aws:kms", "KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/knowledge-base"}
    preview = data("preview-fargate", "preview", {"agents": {"knowledge_base": {}}, "data": {"objects": {}}})
    assert only(preview, INDEX)["DeletionPolicy"] == "Delete"
    assert properties(preview, SOURCE)["DataDeletionPolicy"] == "DELETE"


@pytest.mark.requirement("SVC-03", "T")
def test_its_key_lets_s3_vectors_read_for_buckets_of_this_account_alone() -> None:
    resources = foundation("agent-gateways", "prod")
    [key] = [
        each
        for name, each in resources.items()
        if name.startswith("KnowledgeBaseKey") and each["Type"] == "AWS::KMS::Key"
    ]
    [statement] = [each for each in key["Properties"]["KeyPolicy"]["Statement"] if each["Sid"] == "VectorIndexes"]
    assert statement["Principal"] == {"Service": "indexing.s3vectors.amazonaws.com"}
    assert statement["Action"] == ["kms:Decrypt"]
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    assert ":bucket/*" in str(statement["Condition"]["ArnLike"]["aws:SourceArn"])


def test_without_one_in_the_manifest_there_is_none() -> None:
    resources = data("agent-gateways", "prod", {"agents": {"knowledge_base": None}})
    assert not [each for each in resources.values() if each["Type"] in (BASE, SOURCE, INDEX, BUCKET)]
    searched = data("agent-gateways", "prod", {"agents": {"knowledge_base": None}, "data": {"search": "bedrock-kb"}})
    assert properties(searched, INDEX)["Dimension"] == 1024


@pytest.mark.requirement("SVC-03", "T")
def test_retrieval_alone_may_ask_it_and_knows_its_id() -> None:
    whole = assembly("agent-gateways", "prod")
    askers = {
        name: statement
        for stack in whole.stacks
        for name, role in stack.resources("AWS::IAM::Role").items()
        for policy in role["Properties"].get("Policies", ())
        for statement in policy["PolicyDocument"]["Statement"]
        if "bedrock:Retrieve" in statement["Action"]
    }
    [(name, statement)] = askers.items()
    assert "Retrieval" in name
    assert statement["Sid"] == "KnowledgeBaseRetrieve"
    assert "*" not in json.dumps(statement["Resource"])
    kubernetes = json.dumps(whole.stack("kubernetes").template)
    assert "KNOWLEDGE_BASE_ID" in kubernetes


@pytest.mark.requirement("SVC-03", "T")
def test_a_refresh_that_fails_is_told() -> None:
    observability = assembly("agent-gateways", "prod").stack("observability")
    [alarm] = [
        each["Properties"]
        for each in observability.resources("AWS::CloudWatch::Alarm").values()
        if str(each["Properties"].get("AlarmName", "")).endswith("-knowledge-base-refresh")
    ]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Scheduler", "TargetErrorCount")
    assert alarm["Dimensions"] == [{"Name": "ScheduleGroup", "Value": "agent-gateways-prod-knowledge"}]
    assert alarm["Threshold"] == 0


def test_a_service_may_need_it() -> None:
    services = {"agents": {"image": "./agents", "port": 8080, "needs": ["knowledge-base"]}}
    change = {"services": services, "agents": {"knowledge_base": {}}}
    platform = mutated("mcp-hybrid", "prod", change).stack("platform").resources("AWS::IAM::Role")
    [role] = [each for name, each in platform.items() if name.startswith("AgentsTaskRole")]
    statements = role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    assert [each["Action"] for each in statements if each["Sid"] == "KnowledgeBaseRetrieve"] == [["bedrock:Retrieve"]]


def test_its_costs_follow_its_model_and_its_length_of_vectors() -> None:
    longer, shorter = (costs(dimensions=each) for each in (1024, 256))
    assert longer["s3vectors.processed"].expected == 4 * shorter["s3vectors.processed"].expected
    assert [each.floor for each in longer.values()] == [0] * 5  # nothing but its key while nobody asks
    assert set(longer) == {
        "bedrock.amazon.titan-embed-text-v2:0",
        *(f"s3vectors.{each}" for each in ("storage", "put", "query", "processed")),
    }
    assert set(longer) <= set(table().prices)


def costs(**section: Any) -> dict[str, Range]:
    """Quantities by price, of the index and the knowledge base."""
    resources = with_base(**section)
    stack = StackState(part="data", name="data", region="us-east-1", template={"Resources": resources})
    setting = Setting(stack, table().usages["production"], running=Decimal(1), counts=counted(resources))
    return {
        charge.price: charge.quantity
        for kind in (BASE, INDEX)
        for name, each in resources.items()
        if each["Type"] == kind
        for charge in STORES[kind](name, each, setting)
    }
