"""What Bedrock's managed agents and knowledge bases stand on."""

from collections.abc import Iterator

from slipway.manifest.problems import Finding
from slipway.manifest.schema import Manifest


def agent_model(manifest: Manifest) -> Iterator[Finding]:
    """The agent's model is one that Bedrock serves."""
    agents = manifest.agents
    if not agents.bedrock_agent:
        return
    name = agents.model or manifest.models.default
    model = manifest.models.served().get(name)
    if model is None or model.provider != "bedrock" or model.does != "chat":
        fitting = [
            other
            for other, each in manifest.models.served().items()
            if each.provider == "bedrock" and each.does == "chat"
        ]
        instead = f"write agents.model: {' or '.join(fitting)}" if fitting else "add a model of provider bedrock"
        yield Finding(
            ("agents", "model") if agents.model else ("agents", "bedrock_agent"),
            f"an agent of Bedrock thinks with a chat model of Bedrock, and `{name}` is none: {instead}",
        )


def knowledge_base(manifest: Manifest) -> Iterator[Finding]:
    """A knowledge base reads the documents and keeps its vectors in a store that it supports."""
    data = manifest.data
    declared = manifest.agents.knowledge_base
    if not declared and data.search != "bedrock-kb":
        return
    path = ("agents", "knowledge_base") if declared else ("data", "search")
    if data.objects is None or data.objects.endpoint_url is not None:
        yield Finding(path, "a knowledge base reads its documents from S3: write `objects: {}` under data")
    aurora = data.postgres is not None and data.postgres.engine == "aurora"
    if data.search != "opensearch" and not aurora:
        yield Finding(
            path,
            "a knowledge base keeps its vectors in Aurora or OpenSearch Serverless: write `postgres: {}` or "
            "search: opensearch under data",
        )
