"""Wires the gateway from a process's foundation: models from the manifest, usage into PostgreSQL, routes in front."""

import asyncio
import logging

from starlette.types import ASGIApp

from slipway.api.completions import (
    ChatCompletion,
    ChatCompletionRequest,
    EmbeddingList,
    EmbeddingsRequest,
    ModelInfo,
    ModelList,
)
from slipway.base.callers import Scope
from slipway.base.errors import (
    DeadlineExceeded,
    LimitExceeded,
    Misconfigured,
    NotFound,
    Unavailable,
    UpstreamFailed,
)
from slipway.manifest.sections.models import Model, Models
from slipway.runtime.authentication import Authenticator
from slipway.runtime.http.routes import HotRoute
from slipway.runtime.part import Foundation, Part
from slipway.runtime.settings import secret_from_environment
from slipway.services.gateway.adapter_absent import AbsentProvider
from slipway.services.gateway.adapter_embedded import EmbeddedAnswers, EmbeddedEmbeddings
from slipway.services.gateway.adapter_openai import DEADLINES, Deadlines, OpenAIModel, Secret, Upstream
from slipway.services.gateway.adapter_postgres import PostgresUsage
from slipway.services.gateway.directory import Directory, ServedModel
from slipway.services.gateway.extractive import Extractive
from slipway.services.gateway.hot_chat import chat_handler
from slipway.services.gateway.hot_embeddings import embeddings_handler
from slipway.services.gateway.hot_http import Handler, hot
from slipway.services.gateway.hot_models import model_list_handler, model_view_handler
from slipway.services.gateway.minilm import MiniLM
from slipway.services.gateway.prices import UNPRICED, price_of
from slipway.services.gateway.routes import routes
from slipway.services.gateway.service import Gateway
from slipway.services.gateway.usage_log import BufferedUsageLog

_log = logging.getLogger(__name__)
_CALL_ERRORS = (NotFound, LimitExceeded, UpstreamFailed, DeadlineExceeded, Unavailable)


def wire(foundation: Foundation, *, secret: Secret = secret_from_environment, deadlines: Deadlines = DEADLINES) -> Part:
    """The part `gateway`. Nothing is connected or loaded here. Misconfigured for a default that is not served."""
    providers = Providers(foundation, secret, deadlines)
    directory = providers.directory(foundation.manifest.models)
    store = PostgresUsage(foundation.database)
    log = BufferedUsageLog(store)
    gateway = Gateway(directory, log, foundation.clock)

    return Part(
        name="gateway",
        routes=[routes(store)],
        hot_routes=hot_routes(gateway, foundation.authenticator),
        run={"usage": log.run},
        stop=[providers.close, log.flush],
        checks={"usage-store": foundation.database.check, "usage-log": log.check},
    )


def hot_routes(gateway: Gateway, authenticator: Authenticator) -> list[HotRoute]:
    """OpenAI's routes."""

    def app(handler: Handler) -> ASGIApp:
        return hot(authenticator, Scope.MODELS_USE, handler)

    directory = gateway.directory
    return [
        HotRoute(
            "POST",
            "/v1/chat/completions",
            app(chat_handler(gateway)),
            Scope.MODELS_USE,
            "Answers a chat, plain or streamed (OpenAI's wire).",
            request=ChatCompletionRequest,
            response=ChatCompletion,
            streams=True,
            errors=_CALL_ERRORS,
        ),
        HotRoute(
            "POST",
            "/v1/embeddings",
            app(embeddings_handler(gateway)),
            Scope.MODELS_USE,
            "Turns texts into vectors (OpenAI's wire).",
            request=EmbeddingsRequest,
            response=EmbeddingList,
            errors=_CALL_ERRORS,
        ),
        HotRoute(
            "GET",
            "/v1/models",
            app(model_list_handler(directory)),
            Scope.MODELS_USE,
            "Lists the models.",
            response=ModelList,
            errors=(),
        ),
        HotRoute(
            "GET",
            "/v1/models/{model}",
            app(model_view_handler(directory)),
            Scope.MODELS_USE,
            "Describes one model.",
            response=ModelInfo,
            errors=(NotFound,),
        ),
    ]


class Providers:
    """Every provider that the manifest's models need, each made once."""

    def __init__(self, foundation: Foundation, secret: Secret, deadlines: Deadlines) -> None:
        self._secret = secret
        self._deadlines = deadlines
        self._upstreams: dict[tuple[str, str | None], Upstream] = {}
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
        for upstream in self._upstreams.values():
            await upstream.close()
        # Each waits for what its threads are doing, so not on the event loop: others are stopping there too.
        for close in (self._answers.close, self._embeddings.close, self._minilm.close):
            await asyncio.to_thread(close)

    def _served(self, name: str, model: Model) -> ServedModel:
        price = price_of(model) or UNPRICED
        chats = model.does == "chat"
        if model.provider == "extractive":
            return ServedModel(name, model.provider, chat=self._answers, price=price, fallback=model.fallback)
        if model.provider == "minilm":
            return ServedModel(name, model.provider, embeddings=self._embeddings, price=price, fallback=model.fallback)
        provider = self._remote(name, model)
        return ServedModel(
            name,
            model.provider,
            chat=provider if chats else None,
            embeddings=None if chats else provider,
            price=price,
            fallback=model.fallback,
        )

    def _remote(self, name: str, model: Model) -> OpenAIModel | AbsentProvider:
        if model.provider != "openai" or model.base_url is None or model.id is None:
            _log.warning("model %s: provider %s is not reached by this gateway", name, model.provider)
            return AbsentProvider(model.provider)
        if model.api_key_env is not None and not self._secret(model.api_key_env):
            _log.warning("model %s: the variable that its api_key_env names is not set, requests will fail", name)
        place = (model.base_url, model.api_key_env)
        if place not in self._upstreams:
            self._upstreams[place] = Upstream(model.base_url, model.api_key_env, self._secret, self._deadlines)
        return OpenAIModel(self._upstreams[place], model.id)
