"""One accepted request from its model to its usage row: budgets, attempts, fallback before the first byte, cost.

The hot routes call it with a verified caller and a checked request. A request is accepted once its model is known, its
budgets hold its bound and its opening is in the usage log; from then on exactly one row is recorded, however it ends.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from slipway.base.callers import Caller
from slipway.base.errors import SlipwayError, UpstreamFailed
from slipway.runtime.limits import Limit
from slipway.services.gateway.account import Account, Books, Demand, bounded
from slipway.services.gateway.admission import Admission, Terms
from slipway.services.gateway.attempts import Attempts, Policy
from slipway.services.gateway.bodies import Bodies, chat_of
from slipway.services.gateway.bounds import Bound, chat_bound, embedding_bound
from slipway.services.gateway.directory import Directory, ServedModel
from slipway.services.gateway.models import (
    ChatRequest,
    EmbeddingRequest,
    Embeddings,
    InvalidParameter,
    Operation,
    Tokens,
)
from slipway.services.gateway.ports import EmbeddingProvider
from slipway.services.gateway.prices import UNPRICED
from slipway.services.gateway.relay import StreamRelay, answer_for, stream_relay, with_usage
from slipway.services.gateway.wire import text_length
from slipway.services.gateway.wire_anthropic_headers import refuse_betas

_CHARACTERS_PER_TOKEN: Final = 4  # OpenAI's own rule of thumb for English
_NOTHING: Final = Tokens(0)
_OPERATIONS: Final[Mapping[str, Operation]] = {"openai": "chat.completions", "anthropic": "messages"}
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Accepted:
    """A request on its way: who may answer, its account, and what it took of limits by the minute."""

    models: Sequence[ServedModel]
    account: Account
    taken: tuple[Limit, ...]


class Gateway:
    """Serves requests with the models of a directory and accounts for each."""

    def __init__(self, directory: Directory, books: Books, admission: Admission, policy: Policy) -> None:
        self.directory = directory
        self.admission = admission
        self._books = books
        self._policy = policy

    async def complete(
        self, caller: Caller, terms: Terms, request_id: str, request: ChatRequest
    ) -> tuple[dict[str, Any], int]:
        """A whole answer on the caller's wire and its cost in micro-dollars. Raises what the last attempt raised."""
        bodies = Bodies(request, terms.cap_tokens)
        accepted = await self._chat_accepted(caller, terms, request_id, request, bodies)

        async def ask(model: ServedModel, left_s: float | None) -> tuple[dict[str, Any], int]:
            provider = chat_of(model)
            asked = await bodies.of(model)
            answer = await provider.complete(caller, asked, request.headers, left_s)
            try:
                body, counted, provider_id = answer_for(
                    request.wire, provider.wire, answer, model=model.name, request_id=request_id
                )
            except SlipwayError as error:
                error.effect_unknown = True
                raise
            tokens = counted or _estimated(request, _answer_length(body))
            cost_usd_micros = accepted.account.answered(model, tokens, provider_request_id=provider_id)
            self._settled(accepted, tokens)
            return with_usage(request.wire, body, tokens, cost_usd_micros), cost_usd_micros

        return await self._first_that_answers(accepted, ask, lambda: _estimated(request, 0))

    async def stream(
        self, caller: Caller, terms: Terms, request_id: str, request: ChatRequest
    ) -> AsyncGenerator[bytes, None]:
        """The events of an answer as bytes on the caller's wire. What goes wrong before the first is raised by asking.

        Later it is told within the stream. Closing this early cancels the call at the provider and records it so.
        """
        bodies = Bodies(request, terms.cap_tokens)
        accepted = await self._chat_accepted(caller, terms, request_id, request, bodies)
        account, attempts = accepted.account, self._attempts(accepted)
        relay: StreamRelay | None = None
        begun = False
        try:
            await attempts.begin()
            while True:
                model, provider = attempts.model, chat_of(attempts.model)
                relay = stream_relay(
                    request.wire,
                    provider.wire,
                    model=model.name,
                    include_usage=request.include_usage,
                    request_id=request_id,
                    redacted=provider.redacted,
                )
                take = relay.take
                try:
                    body = await bodies.of(model)
                    async with aclosing(provider.stream(caller, body, request.headers, attempts.left_s)) as batches:
                        async for batch in batches:
                            failure: SlipwayError | None = None
                            if len(batch) == 1:
                                sent = take(batch[0])
                            else:
                                sent, failure = _taken(take, batch)
                            if sent:
                                if not begun:
                                    begun = True
                                    account.first_byte()
                                yield sent
                            if failure is not None:
                                raise failure
                    if not relay.finished:
                        raise UpstreamFailed(
                            "The model's provider ended the answer before it was complete.", effect_unknown=True
                        )
                    break
                except SlipwayError as error:
                    if begun:
                        attempts.broke_off(error)
                        raise
                    if not await attempts.again(error):
                        raise
            tokens = relay.tokens or _estimated(request, relay.text_length)
            cost_usd_micros = account.answered(model, tokens, provider_request_id=relay.provider_id)
            attempts.answered()
            self._settled(accepted, tokens)
            yield relay.end(tokens, cost_usd_micros)
        except BaseException as error:
            unknown = _is_uncertain(attempts, error)
            used = _estimated(request, relay.text_length if relay else 0) if begun or unknown else _NOTHING
            account.failed(attempts.model, error, used, provider_request_id=relay.provider_id if relay else None)
            self._settled(accepted, used)
            raise

    async def embed(
        self, caller: Caller, terms: Terms, request_id: str, request: EmbeddingRequest
    ) -> tuple[str, Embeddings, int, int]:
        """The model that answered, its vectors, prompt tokens and cost in micro-dollars."""
        models = self._affordable(self.directory.candidates(request.model, "embeddings"), terms)
        bounds = [(model, embedding_bound(request.inputs, model.facts)) for model in models]
        accepted = await self._accepted(caller, terms, request_id, "embeddings", request.model, bounds)
        estimate = Tokens(max(sum(map(len, request.inputs)) // _CHARACTERS_PER_TOKEN, 1), estimated=True)

        async def ask(model: ServedModel, left_s: float | None) -> tuple[str, Embeddings, int, int]:
            embeddings = await _embeddings(model).embed(caller, replace(request, model=model.name), left_s)
            tokens = estimate if embeddings.prompt_tokens is None else Tokens(embeddings.prompt_tokens)
            cost_usd_micros = accepted.account.answered(model, tokens)
            self._settled(accepted, tokens)
            return model.name, embeddings, tokens.prompt, cost_usd_micros

        return await self._first_that_answers(accepted, ask, lambda: estimate)

    async def count_tokens(
        self, caller: Caller, terms: Terms, request_id: str, request: ChatRequest
    ) -> tuple[int, bool]:
        """Tokens of a prompt, and whether they are an estimate because the provider offers no count."""
        models = self.directory.candidates(request.model, "chat")
        bodies = Bodies(request, None)
        bounds = [(model, Bound(0, 0)) for model in models]
        accepted = await self._accepted(caller, terms, request_id, "messages.count_tokens", request.model, bounds)

        async def ask(model: ServedModel, _: float | None) -> tuple[int, bool]:
            provider = chat_of(model)
            counted = await provider.count_tokens(caller, await bodies.of(model), request.headers)
            accepted.account.answered(model, _NOTHING)
            if counted is None:
                return _estimated(request, 0).prompt, True
            return counted, False

        return await self._first_that_answers(accepted, ask, lambda: _NOTHING)

    async def _chat_accepted(
        self, caller: Caller, terms: Terms, request_id: str, request: ChatRequest, bodies: Bodies
    ) -> _Accepted:
        models = self._affordable(self.directory.candidates(request.model, "chat"), terms)
        exact = bool(terms.budgets)
        if exact and request.headers:
            for model in models:
                if chat_of(model).wire == request.wire:
                    refuse_betas(request.headers, model.facts)
        # What cannot be translated is refused before anything is held. Without a budget the first model's form will do.
        size_bytes = await bodies.longest_bytes(models if exact else models[:1])
        bounds = [
            (
                model,
                chat_bound(
                    request.wire,
                    request.body,
                    size_bytes,
                    model.facts,
                    cap_tokens=terms.cap_tokens,
                    # What costs nothing needs no bound where all budgets are of money.
                    exact=exact and not (model.is_free and terms.has_money_budget_alone),
                ),
            )
            for model in models
        ]
        return await self._accepted(caller, terms, request_id, _OPERATIONS[request.wire], request.model, bounds)

    def _affordable(self, models: Sequence[ServedModel], terms: Terms) -> Sequence[ServedModel]:
        """Without a price nothing can be held of a budget of money: such a model is refused, and stands in for none."""
        if not terms.budgets or not terms.has_money_budget:
            return models
        if models[0].price is UNPRICED:
            raise InvalidParameter(
                "model",
                f"The model {models[0].name!r} has no price, so a budget of money cannot pay for it: an operator "
                "sets its price_per_million_tokens in the manifest.",
            )
        if len(models) == 1:
            return models
        return [model for model in models if model.price is not UNPRICED]

    async def _accepted(
        self,
        caller: Caller,
        terms: Terms,
        request_id: str,
        operation: Operation,
        asked: str,
        bounds: Sequence[tuple[ServedModel, Bound]],
    ) -> _Accepted:
        bounds, taken = await self._with_room(terms, bounds)
        first = bounds[0][0]
        tokens, usd_micros = bounded(bounds)
        budgets = terms.budgets if tokens else ()
        account = Account(self._books, Demand(caller, request_id, operation, asked, budgets, tokens, usd_micros))
        try:
            await account.open(first)
        except BaseException:
            self.admission.settle(taken, 0)
            raise
        return _Accepted([model for model, _ in bounds], account, taken)

    async def _with_room(
        self, terms: Terms, bounds: Sequence[tuple[ServedModel, Bound]]
    ) -> tuple[Sequence[tuple[ServedModel, Bound]], tuple[Limit, ...]]:
        """The models from the first on whose own limit has room, and what is taken of limits by the minute.

        Raises LimitExceeded. The limits of the models after the first are taken once they are asked.
        """
        if not terms.minute_limits and bounds[0][0].limit is None:
            return bounds, ()
        while True:
            model, bound = bounds[0]
            likely_tokens = bound.prompt_tokens // _CHARACTERS_PER_TOKEN + bound.completion_tokens
            taken = await self.admission.model(terms, model.limit, likely_tokens, is_last=len(bounds) == 1)
            if taken is not None:
                return bounds, taken
            bounds = bounds[1:]

    async def _first_that_answers(
        self,
        accepted: _Accepted,
        ask: Callable[[ServedModel, float | None], Awaitable[Answer]],
        estimate: Callable[[], Tokens],
    ) -> Answer:
        attempts = self._attempts(accepted)
        try:
            await attempts.begin()
            while True:
                try:
                    answer = await ask(attempts.model, attempts.left_s)
                except SlipwayError as error:
                    if not await attempts.again(error):
                        raise
                    continue
                attempts.answered()
                return answer
        except BaseException as error:
            used = estimate() if _is_uncertain(attempts, error) else _NOTHING
            accepted.account.failed(attempts.model, error, used)
            self._settled(accepted, used)
            raise

    def _attempts(self, accepted: _Accepted) -> Attempts:
        return Attempts(accepted.models, accepted.account, self._policy, self.admission.has_room)

    def _settled(self, accepted: _Accepted, tokens: Tokens) -> None:
        if accepted.taken:
            # Once: a caller may leave at the last piece of an answer that is settled already.
            taken, accepted.taken = accepted.taken, ()
            self.admission.settle(taken, tokens.total)


def _is_uncertain(attempts: Attempts, error: BaseException) -> bool:
    """Whether an attempt that nobody counted may have been charged when the request ends with `error`."""
    return attempts.uncertain or (isinstance(error, SlipwayError) and error.effect_unknown)


def _taken(
    take: Callable[[dict[str, Any]], bytes], batch: Sequence[dict[str, Any]]
) -> tuple[bytes, SlipwayError | None]:
    """What several events become, up to one that fails."""
    pieces: list[bytes] = []
    try:
        for event in batch:
            pieces += (take(event),)
    except SlipwayError as error:
        return b"".join(pieces), error
    return b"".join(pieces), None


def _embeddings(model: ServedModel) -> EmbeddingProvider:
    assert model.embeddings is not None, "the directory only offers models that do the operation"
    return model.embeddings


def _estimated(request: ChatRequest, answer_length: int) -> Tokens:
    length = text_length(request.body["messages"])
    system = request.body.get("system")
    if system is not None:
        length += text_length([{"content": system}])
    return Tokens(max(length // _CHARACTERS_PER_TOKEN, 1), -(-answer_length // _CHARACTERS_PER_TOKEN), estimated=True)


def _answer_length(body: Mapping[str, Any]) -> int:
    """Characters of text in a whole answer of either wire."""
    if isinstance(body.get("content"), list):
        return text_length([body])
    choices = body.get("choices") or []
    messages = [choice.get("message") for choice in choices if isinstance(choice, dict)]
    return text_length([message for message in messages if isinstance(message, dict)])
