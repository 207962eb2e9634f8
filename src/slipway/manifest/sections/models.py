"""`models`: which models there are, who serves them, what they cost, and what stands in when one fails."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import API_VERSION_PATTERN, REGION_PATTERN, Key, Section
from slipway.manifest.units import Count, Duration, Money

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
Provider = Literal["openai", "extractive", "minilm", "bedrock", "anthropic", "azure", "balance"]
Weight = Annotated[int, Field(ge=1, le=1000)]
EMBEDDED: Final = frozenset({"extractive", "minilm"})
REMOTE: Final = frozenset({"openai", "bedrock", "anthropic", "azure"})
# What belongs to one model and so not to one that only shares requests out.
_OF_ONE_MODEL: Final = (
    "id",
    "base_url",
    "api_key_env",
    "price_per_million_tokens",
    "context_tokens",
    "max_output_tokens",
    "image_tokens",
)


class Prices(Section):
    """What a model costs per million tokens. A kind of cached token that is left out costs what `prompt` does."""

    prompt: Money = Field(default=Money(0), description="Per million tokens sent to the model.")
    completion: Money = Field(default=Money(0), description="Per million tokens that it writes.")
    cache_read: Money | None = Field(
        default=None, description="Per million tokens that the provider had in its cache already."
    )
    cache_write: Money | None = Field(
        default=None, description="Per million tokens that the provider puts into its cache for minutes."
    )
    cache_write_1h: Money | None = Field(
        default=None, description="Per million tokens that the provider puts into its cache for an hour or more."
    )


class Model(Section):
    """One model as callers name it, and who serves it."""

    provider: Provider = Field(
        description="openai: any server with OpenAI's API. extractive: quotes its sources, embedded. "
        "minilm: all-MiniLM-L6-v2 embeddings, embedded. bedrock: Amazon Bedrock. anthropic: Anthropic's API. "
        "azure: Azure OpenAI. balance: shares requests out among other models by `weights`."
    )
    kind: Literal["chat", "embeddings"] | None = Field(
        default=None, description="What it does; left out: embeddings for minilm, chat for every other provider."
    )
    id: Key | None = Field(
        default=None, description="The provider's own name of the model; for azure the name of the deployment."
    )
    base_url: BaseUrl | None = Field(
        default=None,
        description="Where the provider answers: for openai up to and with its /v1, for azure the resource's address. "
        "anthropic and bedrock have one of their own.",
    )
    api_key_env: SecretVariable | None = Field(
        default=None, description="The NAME of the variable that holds the API key; never the key itself."
    )
    region: str | None = Field(
        default=None, pattern=REGION_PATTERN, description="For bedrock: the AWS region; left out, the environment's."
    )
    api_version: Annotated[str, Field(pattern=API_VERSION_PATTERN)] | None = Field(
        default=None, description="For azure: the version of its API, like 2024-10-21."
    )
    weights: Mapping[Key, Weight] | None = Field(
        default=None, description="For balance: how many parts of the requests each model gets."
    )
    price_per_million_tokens: Prices | None = Field(
        default=None,
        description="What callers are charged. Left out: the price in the table of known models; a model that is not "
        "in it has no price, and callers with a money budget are refused it.",
    )
    context_tokens: Count | None = Field(
        default=None, description="The most tokens of input and output together; left out: the table's figure."
    )
    max_output_tokens: Count | None = Field(
        default=None, description="The most tokens that it writes; left out: the table's figure."
    )
    image_tokens: Count | None = Field(
        default=None, description="The most tokens that one image costs; left out: the table's figure."
    )
    requests_per_second: int | None = Field(
        default=None, ge=1, description="Steady rate of requests to this model, over all callers."
    )
    burst: int | None = Field(default=None, ge=1, description="Requests above that rate that are let through at once.")
    deadline: Duration | None = Field(
        default=None, description="How long one request may take in all, retries included."
    )
    first_byte: Duration | None = Field(
        default=None, description="How long the provider may take until it begins to answer."
    )
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
        return self._lacks() or self._has_too_much() or self._does_something_else()

    def _lacks(self) -> str | None:
        provider = self.provider
        if provider == "openai" and self.base_url is None:
            return "a model of provider openai needs a base_url, like http://127.0.0.1:11434/v1"
        if provider == "azure" and self.base_url is None:
            return "a model of provider azure needs a base_url, like https://my-resource.openai.azure.com"
        if provider == "azure" and self.api_version is None:
            return "a model of provider azure needs an api_version, like 2024-10-21"
        if provider in REMOTE and self.id is None:
            return f"a model of provider {provider} needs an id: the provider's own name of the model"
        if provider == "balance" and not self.weights:
            return "a model of provider balance needs weights, like {a-model: 3, another: 1}"
        return None

    def _has_too_much(self) -> str | None:
        provider = self.provider
        if provider == "balance":
            given = [key for key in _OF_ONE_MODEL if getattr(self, key) is not None]
            if given:
                return f"provider balance takes no {given[0]}: write it at each of the models under weights"
        elif self.weights is not None:
            return f"provider {provider} takes no weights: they are for provider balance"
        if provider not in REMOTE and (self.base_url or self.api_key_env):
            return f"provider {provider} takes no base_url and no api_key_env: remove them"
        if provider == "bedrock" and self.api_key_env:
            return "provider bedrock takes no api_key_env: it signs with the AWS credentials of its environment"
        if provider != "bedrock" and self.region:
            return f"provider {provider} takes no region: remove it"
        if provider != "azure" and self.api_version:
            return f"provider {provider} takes no api_version: remove it"
        if provider in EMBEDDED and self.id:
            return f"provider {provider} is one model, built in: remove id"
        return None

    def _does_something_else(self) -> str | None:
        if self.provider == "minilm" and self.kind == "chat":
            return "provider minilm makes embeddings: remove kind, or choose another provider"
        if self.provider == "extractive" and self.kind == "embeddings":
            return "provider extractive answers questions: remove kind, or choose provider minilm"
        if self.provider == "anthropic" and self.kind == "embeddings":
            return "provider anthropic has no embeddings: remove kind, or choose another provider"
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
