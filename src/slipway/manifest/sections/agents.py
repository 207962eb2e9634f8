"""`agents` and `workflows`: managed agents of Bedrock, and what runs the platform's workflows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import PREFIX_PATTERN, Key, Section
from slipway.manifest.sections.services import OBJECTS_PREFIX
from slipway.manifest.units import Duration, Percent


@dataclass(frozen=True, slots=True)
class Embedder:
    """A model of Bedrock that makes vectors: their lengths, and the most tokens of one text. `chosen` says that a
    request names the length. Source: AWS's pages on the models' parameters."""

    dimensions: tuple[int, ...]
    tokens: int
    chosen: bool = False


EMBEDDERS: Final[Mapping[str, Embedder]] = {
    "amazon.titan-embed-text-v1": Embedder((1536,), 8192),
    "amazon.titan-embed-text-v2:0": Embedder((256, 512, 1024), 8192, chosen=True),
    "cohere.embed-english-v3": Embedder((1024,), 512),
    "cohere.embed-multilingual-v3": Embedder((1024,), 512),
}


class KnowledgeBase(Section):
    """A knowledge base of Bedrock over the part of the documents' bucket that is meant for it."""

    embeddings: Key = Field(
        default="amazon.titan-embed-text-v2:0", description="The model that makes its vectors: its id at Bedrock."
    )
    dimensions: int = Field(default=1024, ge=1, le=4096, description="Numbers in each vector; the model has a choice.")
    chunk_tokens: int = Field(default=300, ge=1, le=8192, description="The most tokens of a chunk.")
    overlap: Percent = Field(
        default=Percent(2_000), description="How much of a chunk the next one begins with (1% to 99%)."
    )
    prefix: str = Field(
        default="knowledge-base/",
        pattern=PREFIX_PATTERN,
        max_length=300,
        description="Where its documents lie in the bucket. Whoever may ask it may see all of them.",
    )
    refresh: Duration = Field(
        default=Duration.of(hours=1), description="How often it looks for documents that are new, changed or gone."
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        model = EMBEDDERS.get(self.embeddings)
        if model is not None and self.dimensions not in model.dimensions:
            raise PydanticCustomError(
                "knowledge_base", "{model} makes vectors of {lengths} numbers: write dimensions: {last}",
                {
                    "model": self.embeddings,
                    "lengths": " or ".join(map(str, model.dimensions)),
                    "last": model.dimensions[-1],
                },
            )  # fmt: skip
        if model is not None and self.chunk_tokens > model.tokens:
            raise PydanticCustomError(
                "knowledge_base", "{model} reads {tokens} tokens at most: write chunk_tokens: {tokens} or fewer",
                {"model": self.embeddings, "tokens": model.tokens},
            )  # fmt: skip
        if self.overlap.basis_points % 100 or not 100 <= self.overlap.basis_points <= 9_900:
            raise PydanticCustomError("knowledge_base", "overlap is a whole percentage of 1% to 99%")
        if self.prefix.startswith(OBJECTS_PREFIX):
            raise PydanticCustomError(
                "knowledge_base", "prefix: services of yours keep their objects below services/: choose another"
            )
        minutes = Duration.of(minutes=1).milliseconds
        if self.refresh.milliseconds % minutes or not Duration.of(minutes=15) <= self.refresh <= Duration.of(days=30):
            raise PydanticCustomError("knowledge_base", "refresh is 15m to 30d, in whole minutes")
        return self


class Agents(Section):
    """Agents and knowledge bases that Bedrock runs."""

    bedrock_agent: bool = Field(default=False, description="An agent of Bedrock that calls the platform's tools.")
    knowledge_base: KnowledgeBase | None = Field(
        default=None, description="A knowledge base over documents; `search: bedrock-kb` brings it as well."
    )
    model: Key | None = Field(
        default=None, description="The agent's model: one of provider bedrock; left out, models.default."
    )
    instruction: str = Field(
        default="You answer questions of a merchant's staff from their documents and with the tools that you have.",
        min_length=40,
        max_length=4000,
        description="What the agent is told to do (Bedrock asks for 40 characters at least).",
    )


class Ingestion(Section):
    """One document, from its upload to its index."""

    limit: Duration = Field(default=Duration.of(minutes=15), description="How long a run may take in all.")
    retries: int = Field(default=3, ge=0, le=20, description="How often a step is tried again.")


class Retraining(Section):
    """One model, from a drift to a better one, or back."""

    limit: Duration = Field(default=Duration.of(hours=2), description="How long a run may take in all.")
    retries: int = Field(default=3, ge=0, le=20, description="How often a step is tried again.")


class Workflows(Section):
    """What runs document processing and retraining."""

    engine: Literal["built-in", "step-functions"] = Field(
        default="built-in", description="built-in: workers on postgres. step-functions: the same steps as Lambda."
    )
    ingestion: Ingestion = Field(default=Ingestion(), description="Document processing.")
    retraining: Retraining = Field(default=Retraining(), description="Retraining.")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        for name in ("ingestion", "retraining"):
            if not Duration.of(minutes=1) <= getattr(self, name).limit <= Duration.of(days=365):
                raise PydanticCustomError(
                    "workflow", "the limit of {name} is 1m to 1y: Step Functions runs no longer", {"name": name}
                )
        return self
