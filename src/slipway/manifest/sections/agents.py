"""`agents` and `workflows`: managed agents of Bedrock, and what runs the platform's workflows."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import Key, Section
from slipway.manifest.units import Duration


class Agents(Section):
    """Agents and knowledge bases that Bedrock runs."""

    bedrock_agent: bool = Field(default=False, description="An agent of Bedrock that calls the platform's tools.")
    knowledge_base: bool = Field(
        default=False, description="A knowledge base over the documents; `search: bedrock-kb` brings it as well."
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
    embeddings: Key = Field(
        default="amazon.titan-embed-text-v2:0", description="The knowledge base's own model: its id at Bedrock."
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
