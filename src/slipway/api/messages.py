"""Wire types of Anthropic's Messages routes, for the OpenAPI document. Keys that do not stand here are passed on.

Users of these routes have Anthropic's own SDK: its `base_url` is the platform's address, without `/v1`.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Anthropic(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class InputMessage(_Anthropic):
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    content: str | list[dict[str, Any]]


class TokenCountRequest(_Anthropic):
    """A prompt whose tokens are to be counted."""

    model: str = Field(description="A name that GET /v1/models lists, or `default`.")
    messages: list[InputMessage] = Field(min_length=1)
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None


class MessagesRequest(TokenCountRequest):
    """A conversation to go on with. Everything else that Anthropic's API knows is passed on to such a provider."""

    max_tokens: int = Field(ge=1, description="The most tokens to write.")
    stream: bool = False
    stop_sequences: list[str] | None = None
    temperature: float | None = None


class MessageUsage(_Anthropic):
    """Tokens as the provider counted them, and what they cost."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cost_usd_micros: int = Field(description="Micro-dollars at the price in force.")


class MessageResponse(_Anthropic):
    """The answer."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str | None
    stop_sequence: str | None = None
    usage: MessageUsage


class TokenCount(_Anthropic):
    """Tokens of a prompt."""

    input_tokens: int
