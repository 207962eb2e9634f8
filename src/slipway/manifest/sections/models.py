"""`models`: which models there are, who serves them, what they cost, and what stands in when one fails."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import Key, Section
from slipway.manifest.units import Money

# A name of a variable is words joined by underscores. What has no underscore in 20 characters, or begins
# like the keys of well-known providers, is taken for the key itself. The value is never repeated in the
# message.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,79}")
_KEY_LIKE = re.compile(r"(AKIA|ASIA)[A-Z0-9]{16}|[A-Z0-9]{20,}")


def _variable_name(given: object) -> object:
    if isinstance(given, str) and (not _VARIABLE.fullmatch(given) or _KEY_LIKE.fullmatch(given)):
        raise PydanticCustomError(
            "variable_name",
            "this is not the name of an environment variable: export the secret as a variable and write the "
            "variable's name, like OPENAI_API_KEY. If this was the secret itself, replace it at its provider: it "
            "has been in a file",
        )
    return given


SecretVariable = Annotated[
    str,
    BeforeValidator(_variable_name),
    Field(json_schema_extra={"pattern": "^[A-Z][A-Z0-9_]{0,79}$", "examples": ["OPENAI_API_KEY"]}),
]


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        secret, host, _ = parts.username or parts.password, parts.hostname, parts.port
    except ValueError:
        secret, host = None, None
    if secret:
        raise PydanticCustomError(
            "base_url", "the URL carries a credential: put it into a variable and name that under api_key_env"
        )
    if not host or url != url.strip() or not url.startswith(("http://", "https://")):
        raise PydanticCustomError("base_url", "this is not an http(s) URL: write one like http://127.0.0.1:11434/v1")
    return url


HttpUrl = Annotated[
    str, AfterValidator(_checked_url), Field(max_length=2000, json_schema_extra={"pattern": "^https?://"})
]
BaseUrl = Annotated[HttpUrl, AfterValidator(lambda url: url.rstrip("/"))]  # paths are appended to it
Provider = Literal["openai", "extractive", "minilm", "bedrock"]


class Prices(Section):
    """What a model costs per million tokens."""

    prompt: Money = Field(default=Money(0), description="Per million tokens sent to the model.")
    completion: Money = Field(default=Money(0), description="Per million tokens that it writes.")


class Model(Section):
    """One model as callers name it, and who serves it."""

    provider: Provider = Field(
        description="openai: any server with OpenAI's API. extractive: quotes its sources, embedded. "
        "minilm: all-MiniLM-L6-v2 embeddings, embedded. bedrock: Amazon Bedrock."
    )
    kind: Literal["chat", "embeddings"] | None = Field(
        default=None, description="What it does; left out: embeddings for minilm, chat for every other provider."
    )
    id: Key | None = Field(default=None, description="The provider's own name of the model.")
    base_url: BaseUrl | None = Field(
        default=None, description="Where an OpenAI-compatible server answers, up to and with its /v1."
    )
    api_key_env: SecretVariable | None = Field(
        default=None, description="The NAME of the variable that holds the API key; never the key itself."
    )
    price_per_million_tokens: Prices = Field(default=Prices(), description="What callers are charged.")
    fallback: tuple[Key, ...] = Field(
        default=(), description="Models that stand in, in this order, when this one fails."
    )

    @property
    def does(self) -> Literal["chat", "embeddings"]:
        """What the model does, stated or implied by its provider."""
        return self.kind or ("embeddings" if self.provider == "minilm" else "chat")

    @model_validator(mode="after")
    def _fits_provider(self) -> Self:
        problem = self._misfit()
        if problem:
            raise PydanticCustomError("provider", "{problem}", {"problem": problem})
        return self

    def _misfit(self) -> str | None:
        embedded = self.provider in ("extractive", "minilm")
        if self.provider == "openai" and self.base_url is None:
            return "a model of provider openai needs a base_url, like http://127.0.0.1:11434/v1"
        if not embedded and self.id is None:
            return f"a model of provider {self.provider} needs an id: the provider's own name of the model"
        if self.provider != "openai" and (self.base_url or self.api_key_env):
            return f"provider {self.provider} takes no base_url and no api_key_env: remove them"
        if embedded and self.id:
            return f"provider {self.provider} is one model, built in: remove id"
        if self.provider == "minilm" and self.kind == "chat":
            return "provider minilm makes embeddings: remove kind, or choose another provider"
        if self.provider == "extractive" and self.kind == "embeddings":
            return "provider extractive answers questions: remove kind, or choose provider minilm"
        return None


EXTRACTIVE = "extractive"
MINILM = "all-minilm-l6-v2"
BUILT_IN: Mapping[str, Model] = {
    EXTRACTIVE: Model(provider="extractive"),
    MINILM: Model(provider="minilm"),
}


class Models(Section):
    """The models that the gateway serves. The two embedded ones are always among them."""

    default: Key = Field(default=EXTRACTIVE, description="The chat model that answers when a request names none.")
    embeddings: Key = Field(default=MINILM, description="The model that embeds documents and queries.")
    available: Mapping[Key, Model] = Field(
        default={}, description="Models by the name that callers use; the embedded ones need no entry."
    )

    def served(self) -> dict[str, Model]:
        """Every model by name: the built-in ones, and the declared ones, which win."""
        return {**BUILT_IN, **self.available}
