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
    """A knowledge base reads its documents from S3. Its vectors it keeps itself (ADR 20)."""
    data = manifest.data
    if manifest.knowledge_base is None:
        return
    path = ("agents", "knowledge_base") if manifest.agents.knowledge_base is not None else ("data", "search")
    if data.objects is None or data.objects.endpoint_url is not None:
        yield Finding(path, "a knowledge base reads its documents from S3: write `objects: {}` under data")
