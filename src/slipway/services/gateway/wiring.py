"""Wires the gateway from a process's foundation: models, limits, budgets and usage, routes in front."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from slipway.api.completions import (
    ChatCompletion,
    ChatCompletionRequest,
    EmbeddingList,
    EmbeddingsRequest,
    ModelInfo,
    ModelList,
)
from slipway.api.messages import MessageResponse, MessagesRequest, TokenCount, TokenCountRequest
from slipway.api.plans import BudgetStanding
from slipway.api.usage import UsageRow
from slipway.base.callers import Caller, Scope
from slipway.base.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    LimitExceeded,
    NotFound,
    StorageFull,
    Unavailable,
    UpstreamFailed,
)
from slipway.runtime.http.routes import HotRoute
from slipway.runtime.limits import Limit, Limiter, LocalLimiter
from slipway.runtime.outbound import Deadlines
from slipway.runtime.part import Foundation, Part, Work
from slipway.runtime.settings import secret_from_environment
from slipway.services.gateway import metrics
from slipway.services.gateway.account import Books
from slipway.services.gateway.adapter_postgres import PostgresUsage
from slipway.services.gateway.adapter_postgres_corrections import PostgresCorrections
from slipway.services.gateway.adapter_postgres_leases import PostgresLeases
from slipway.services.gateway.adapter_postgres_plans import PostgresPlans
from slipway.services.gateway.admission import Admission, budgets_of
from slipway.services.gateway.attempts import Policy
from slipway.services.gateway.directory import Directory
from slipway.services.gateway.escrow import Escrow, EscrowHooks
from slipway.services.gateway.health import FAILURES
from slipway.services.gateway.hot_chat import chat_handler, count_tokens_handler, messages_handler
from slipway.services.gateway.hot_embeddings import embeddings_handler
from slipway.services.gateway.hot_http import Door
from slipway.services.gateway.hot_models import model_list_handler, model_view_handler
from slipway.services.gateway.lease_models import Account, Standing
from slipway.services.gateway.lease_ports import LeaseStore
from slipway.services.gateway.models import Price
from slipway.services.gateway.plan_book import PlanBook
from slipway.services.gateway.reconciliation import PriceOf, Reconciliation
from slipway.services.gateway.routes import reconciliation_routes, routes
from slipway.services.gateway.routes_plans import plan_routes
from slipway.services.gateway.service import Gateway
from slipway.services.gateway.settlement import Settlement
from slipway.services.gateway.upstream import Secret
from slipway.services.gateway.usage_journal import UsageJournal
from slipway.services.gateway.wiring_models import Providers

DEADLINES: Final = Deadlines()
POLICY: Final = Policy()
LEASE_TTL_S: Final = 120.0  # in a store that does not forget
_CALL_ERRORS: Final = (
    NotFound,
    BudgetExceeded,
    LimitExceeded,
    UpstreamFailed,
    DeadlineExceeded,
    Unavailable,
    StorageFull,
)


def wire(
    foundation: Foundation,
    *,
    secret: Secret = secret_from_environment,
    deadlines: Deadlines = DEADLINES,
    policy: Policy = POLICY,
    failures: int = FAILURES,
) -> Part:
    """The part `gateway`. No provider is connected or loaded here. Misconfigured for a default that is not served.

    Raises StorageFull or Unavailable when the journal's folder cannot be used.
    """
    manifest, settings, clock = foundation.manifest, foundation.settings, foundation.clock
    providers = Providers(foundation, secret, deadlines, failures=failures)
    directory = providers.directory(manifest.models)
    usage = PostgresUsage(foundation.database)
    stores = shared_stores(foundation, usage)
    settlement = Settlement(stores.leases, usage, clock)
    root = settings.journal or settings.home / "journal"
    journal = UsageJournal.start(root, usage, settle_dead=settlement.settle_dead, sync=settings.journal_sync)
    escrow = Escrow(
        stores.leases, clock, journal.instance_id, ttl_s=stores.lease_ttl_s, hooks=hooks(settlement, journal)
    )
    metrics.leases_from(escrow.held)
    reconciliation = Reconciliation(PostgresCorrections(foundation.database), stores.leases, clock, price_of(directory))
    book = PlanBook(PostgresPlans(foundation.database), manifest.plans)
    throttle = manifest.edge.throttle
    everybody = f"{throttle.rate} requests per second of all callers"
    edge = Limit("edge:requests", throttle.rate, throttle.burst, 1, everybody)
    admission = Admission(stores.limiter, book, edge, clock)
    gateway = Gateway(directory, Books(escrow, journal, clock), admission, policy)
    door = Door(foundation.authenticator, admission, clock)

    async def standing(caller: Caller) -> list[BudgetStanding]:
        plans = book.plans_of(caller)
        if plans is None:  # nobody of the tenant has asked this process for anything yet
            await book.load(caller)
            plans = book.plans_of(caller)
        budgets = budgets_of(caller, plans, clock.now()) if plans is not None else []
        known = {
            found.account_key: found for found in await stores.leases.standing_list(caller, [b.key for b in budgets])
        }
        return [standing_of(budget, known.get(budget.key)) for budget in budgets]

    return Part(
        name="gateway",
        routes=[routes(usage), reconciliation_routes(reconciliation), plan_routes(book, standing)],
        hot_routes=hot_routes(gateway, door),
        run={
            "usage": journal.run,
            "budgets": escrow.run,
            "plans": book.run,
            "settlement": settlement.run,
            "reconciliation": reconciliation.run,
        },
        stop=[*stores.close, providers.close, journal.flush, escrow.close],
        checks={"usage-store": foundation.database.check, "usage-log": journal.check},
    )


@dataclass(frozen=True)
class SharedStores:
    """Where limits and leases are kept, and how to close it."""

    limiter: Limiter
    leases: LeaseStore
    lease_ttl_s: float
    close: Sequence[Work]


def shared_stores(foundation: Foundation, usage: PostgresUsage) -> SharedStores:
    """Redis for both where settings name one; else limits in this process and leases in PostgreSQL."""
    url = foundation.settings.redis_address()
    if url is None:
        limiter = LocalLimiter(foundation.clock)
        return SharedStores(limiter, PostgresLeases(foundation.database), LEASE_TTL_S, [limiter.close])
    from slipway.runtime.limits.shared import RedisLimiter
    from slipway.runtime.redis import open_redis
    from slipway.services.gateway.adapter_redis_leases import TTL_S, RedisLeases

    redis = open_redis(url)
    shared = RedisLimiter(redis, foundation.clock, on_open_failure=metrics.limits_open)
    return SharedStores(shared, RedisLeases(redis, usage.spent_of), TTL_S, [redis.aclose, shared.close])


def hooks(settlement: Settlement, journal: UsageJournal) -> EscrowHooks:
    """What the escrow tells the metrics, and which rows of lost leases are wrong."""
    return EscrowHooks(
        synced=metrics.lease_synced,
        refused=lambda account: metrics.budget_refused(account.unit),
        store_away=lambda _: metrics.budget_refused("store_away"),
        over_billed=lambda account, _: metrics.over_billed(account.unit),
        ended=lambda account: journal.forget(account.key),
        found=settlement.found,
    )


def price_of(directory: Directory) -> PriceOf:
    """Prices of rows: the model's while it has the same, since a row does not say what long prompts cost."""

    def found(row: UsageRow) -> Price | None:
        if row.model in directory.names() and directory.model(row.model).price_text == row.price:
            return directory.model(row.model).price
        return Price.from_text(row.price) if row.price else None

    return found


def standing_of(budget: Account, found: Standing | None) -> BudgetStanding:
    """How one budget stands, as the API tells it."""
    owner, name = budget.key.split(":")[:2]
    return BudgetStanding(
        subject="tenant" if owner == "tenant" else name.partition("/")[2],
        unit=budget.unit,
        limit=budget.limit,
        taken=found.taken if found is not None else 0,
        spent=found.spent if found is not None else 0,
        resets_at=budget.resets_at,
    )


def hot_routes(gateway: Gateway, door: Door) -> list[HotRoute]:
    """OpenAI's and Anthropic's routes."""
    use = Scope.MODELS_USE
    directory = gateway.directory
    return [
        HotRoute(
            "POST",
            "/v1/chat/completions",
            door.route("openai", use, chat_handler(gateway)),
            use,
            "Answers a chat, plain or streamed (OpenAI's wire).",
            request=ChatCompletionRequest,
            response=ChatCompletion,
            streams=True,
            errors=_CALL_ERRORS,
        ),
        HotRoute(
            "POST",
            "/v1/messages",
            door.route("anthropic", use, messages_handler(gateway)),
            use,
            "Answers a conversation, plain or streamed (Anthropic's wire).",
            request=MessagesRequest,
            response=MessageResponse,
            streams=True,
            errors=_CALL_ERRORS,
        ),
        HotRoute(
            "POST",
            "/v1/messages/count_tokens",
            door.route("anthropic", use, count_tokens_handler(gateway)),
            use,
            "Counts the tokens of a conversation (Anthropic's wire).",
            request=TokenCountRequest,
            response=TokenCount,
            errors=_CALL_ERRORS,
        ),
        HotRoute(
            "POST",
            "/v1/embeddings",
            door.route("openai", use, embeddings_handler(gateway)),
            use,
            "Turns texts into vectors (OpenAI's wire).",
            request=EmbeddingsRequest,
            response=EmbeddingList,
            errors=_CALL_ERRORS,
        ),
        HotRoute(
            "GET",
            "/v1/models",
            door.route("openai", use, model_list_handler(directory), limited=False),
            use,
            "Lists the models.",
            response=ModelList,
            errors=(),
        ),
        HotRoute(
            "GET",
            "/v1/models/{model}",
            door.route("openai", use, model_view_handler(directory), limited=False),
            use,
            "Describes one model.",
            response=ModelInfo,
            errors=(NotFound,),
        ),
    ]
