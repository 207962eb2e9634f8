"""Makes the served models of a manifest: who answers for each, over which connections, at what price and limits."""

import asyncio
import logging
from dataclasses import replace

from slipway.base.clock import Clock
from slipway.base.errors import Misconfigured
from slipway.manifest.sections.models import Model, Models
from slipway.runtime.limits import Limit
from slipway.runtime.outbound import Deadlines, Outbound
from slipway.runtime.part import Foundation
from slipway.services.gateway.adapter_anthropic import AnthropicModel
from slipway.services.gateway.adapter_bedrock import AwsSigner, BedrockModel
from slipway.services.gateway.adapter_embedded import EmbeddedAnswers, EmbeddedEmbeddings
from slipway.services.gateway.adapter_openai import OpenAIModel
from slipway.services.gateway.bounds import ModelFacts
from slipway.services.gateway.directory import Directory, ServedModel
from slipway.services.gateway.extractive import Extractive
from slipway.services.gateway.health import FAILURES, Health
from slipway.services.gateway.minilm import MiniLM
from slipway.services.gateway.ports import ChatProvider
from slipway.services.gateway.prices import UNPRICED, facts_of, price_of
from slipway.services.gateway.upstream import Secret, Upstream, bearer, named

ANTHROPIC_URL = "https://api.anthropic.com"
_log = logging.getLogger(__name__)


class Providers:
    """Every provider that the manifest's models need, each made once. Nothing is connected or loaded here."""

    def __init__(
        self, foundation: Foundation, secret: Secret, deadlines: Deadlines, *, failures: int = FAILURES
    ) -> None:
        self._clock: Clock = foundation.clock
        self._region = foundation.manifest.region
        self._secret = secret
        self._deadlines = deadlines
        self._failures = failures
        self._outbounds: dict[str, Outbound] = {}
        self._upstreams: dict[tuple[str, str | None, str], Upstream] = {}
        self._minilm = MiniLM(foundation.settings.home / "cache" / "minilm")
        self._embeddings = EmbeddedEmbeddings(self._minilm)
        extractive = Extractive(lambda texts: self._minilm.embed(texts).vectors, self._minilm.count_tokens)
        self._answers = EmbeddedAnswers(extractive, foundation.clock)

    def directory(self, models: Models) -> Directory:
        """The manifest's models with who serves them."""
        served = {name: self._served(name, model) for name, model in models.served().items()}
        for key, name in (("default", models.default), ("embeddings", models.embeddings)):
            if name not in served:
                raise Misconfigured(f"models.{key} names {name!r}, which is not among models.available.")
        return Directory(served, default_chat=models.default, default_embeddings=models.embeddings)

    async def close(self) -> None:
        """Ends connections and threads."""
        for outbound in self._outbounds.values():
            await outbound.close()
        # Each waits for what its threads are doing, so not on the event loop: others are stopping there too.
        for close in (self._answers.close, self._embeddings.close, self._minilm.close):
            await asyncio.to_thread(close)

    def _served(self, name: str, model: Model) -> ServedModel:
        provider = self._chat(name, model) if model.does == "chat" else None
        limit = None
        if model.requests_per_second is not None:
            rate = model.requests_per_second
            what = f"{rate} requests per second of the model {name}"
            limit = Limit(f"model:{name}:requests", rate, model.burst or rate, 1, what)
        return ServedModel(
            name,
            model.provider,
            Health(self._clock, name, self._failures),
            chat=provider,
            embeddings=self._embedder(name, model) if model.does == "embeddings" else None,
            price=price_of(model, model.region or self._region) or UNPRICED,
            facts=_facts(model),
            fallback=model.fallback,
            weights=model.weights or {},
            limit=limit,
            deadline_s=self._deadlines_of(model).total_s,
        )

    def _chat(self, name: str, model: Model) -> ChatProvider | None:
        if model.provider == "extractive":
            return self._answers
        if model.provider == "balance":
            return None
        deadlines, model_id = self._deadlines_of(model), model.id or ""
        if model.provider == "anthropic":
            address = model.base_url or ANTHROPIC_URL
            upstream = self._upstream(name, address, model.api_key_env, "x-api-key")
            return AnthropicModel(upstream, model_id, deadlines)
        if model.provider == "bedrock":
            region = model.region or self._region or _session_region()
            if region is None:
                _log.warning("model %s: Bedrock in no region, requests will fail", name)
            address = model.base_url or f"https://bedrock-runtime.{region or 'us-east-1'}.amazonaws.com"
            signer = AwsSigner(region, self._clock)
            return BedrockModel(self._outbound(address), address, signer, model_id, deadlines)
        return self._openai(name, model)

    def _embedder(self, name: str, model: Model) -> EmbeddedEmbeddings | OpenAIModel | None:
        if model.provider == "minilm":
            return self._embeddings
        if model.provider in ("openai", "azure"):
            return self._openai(name, model)
        if model.provider != "balance":
            _log.warning("model %s: embeddings of provider %s are not reached", name, model.provider)
        return None

    def _openai(self, name: str, model: Model) -> OpenAIModel:
        address, header = model.base_url or "", "authorization"
        if model.provider == "azure":
            address = f"{address}/openai/deployments/{model.id}?api-version={model.api_version}"
            header = "api-key"
        upstream = self._upstream(name, address, model.api_key_env, header)
        return OpenAIModel(upstream, model.id or "", self._deadlines_of(model))

    def _upstream(self, name: str, address: str, api_key_env: str | None, header: str) -> Upstream:
        if api_key_env is not None and not self._secret(api_key_env):
            _log.warning("model %s: the variable that its api_key_env names is not set, requests will fail", name)
        place = (address, api_key_env, header)
        if place not in self._upstreams:
            self._upstreams[place] = Upstream(
                self._outbound(address),
                api_key_env=api_key_env,
                secret=self._secret,
                credential=bearer if header == "authorization" else named(header.encode()),
            )
        return self._upstreams[place]

    def _outbound(self, address: str) -> Outbound:
        if address not in self._outbounds:
            self._outbounds[address] = Outbound(address)
        return self._outbounds[address]

    def _deadlines_of(self, model: Model) -> Deadlines:
        deadlines = self._deadlines
        if model.deadline is not None:
            deadlines = replace(deadlines, total_s=model.deadline.milliseconds / 1000)
        if model.first_byte is not None:
            first_byte_s = model.first_byte.milliseconds / 1000
            deadlines = replace(deadlines, first_byte_s=first_byte_s, whole_first_byte_s=first_byte_s)
        return deadlines


def _session_region() -> str | None:
    from botocore.session import Session

    region: str | None = Session().get_config_variable("region")
    return region


# What the embedded models take at most, so that budgets and plans hold for them as for any other: three quotes of 400
# characters with their marks, and the word pieces that are read of a text.
_EMBEDDED_FACTS = {
    "extractive": ModelFacts(max_output_tokens=4_096),
    "minilm": ModelFacts(context_tokens=256),
}


def _facts(model: Model) -> ModelFacts:
    if model.provider in _EMBEDDED_FACTS:
        return _EMBEDDED_FACTS[model.provider]
    known = facts_of(model.provider, model.id or "")

    def first(name: str) -> int | None:
        given = getattr(model, name)
        if given is not None:
            count: int = given.count
            return count
        found: int | None = getattr(known, name) if known is not None else None
        return found

    return ModelFacts(first("context_tokens"), first("max_output_tokens"), first("image_tokens"))
