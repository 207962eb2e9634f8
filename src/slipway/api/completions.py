"""Wire types of the OpenAI routes, for the OpenAPI document. The gateway passes on keys that do not stand here.

Users of these routes have OpenAI's own SDK; `Client.completion` and `Client.embeddings` speak them as they are.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _OpenAI(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class ChatCompletionMessage(_OpenAI):
    """One message of a chat."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class StreamOptions(_OpenAI):
    """How a stream is sent."""

    include_usage: bool = Field(default=False, description="Whether a last chunk carries the usage.")


class ChatCompletionRequest(_OpenAI):
    """A chat to be answered. Everything else that OpenAI's API knows is passed on to the model's provider."""

    model: str = Field(description="A name that GET /v1/models lists, or `default`.")
    messages: list[ChatCompletionMessage] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    n: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None


class CompletionUsage(_OpenAI):
    """Tokens as the provider counted them, and what they cost."""

    prompt_tokens: int
    completion_tokens: int = 0
    total_tokens: int
    cost_usd_micros: int = Field(description="Micro-dollars at the manifest's prices.")


class ChatCompletionChoice(_OpenAI):
    """One answer."""

    index: int
    message: ChatCompletionMessage
    finish_reason: str | None


class ChatCompletion(_OpenAI):
    """The answer to a chat."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatCompletionChoice]
    usage: CompletionUsage


class EmbeddingsRequest(_OpenAI):
    """Texts to turn into vectors."""

    model: str = Field(description="A name that GET /v1/models lists, or `default`.")
    input: str | list[str] = Field(description="One text, or 2048 at most.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = Field(default=None, description="Who asks, for providers that look for abuse.")


class EmbeddingItem(_OpenAI):
    """One vector: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(_OpenAI):
    """Tokens as the provider counted them, and what they cost."""

    prompt_tokens: int
    total_tokens: int
    cost_usd_micros: int


class EmbeddingList(_OpenAI):
    """The vectors in the order of the texts."""

    object: Literal["list"]
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage


class ModelInfo(_OpenAI):
    """One model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str = Field(description="The provider that serves it.")


class ModelList(_OpenAI):
    """Every model that this gateway serves."""

    object: Literal["list"]
    data: list[ModelInfo]
