"""Usage as the journal and the store keep it: openings, closings and rows as flat JSON, and back where that is needed.

A closing's JSON has the names of the columns of `usage_row`, so that the store takes it as it is; `charges` is no
column and passes unread.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

import orjson

from slipway.services.gateway.models import MOST_AMOUNT, Booking, Charge, Opening, UsageRow

OPENING: Final = "O"
CLOSING: Final = "C"
WITHDRAWAL: Final = "W"  # of an opening
SPENT: Final = "L"  # in snapshots: what this process has spent of an account so far
KILLED: Final = "process_killed"
_AMOUNTS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "cost_usd_micros",
    "reserved_usd_micros",
    "uncertain_usd_micros",
    "charged_tokens",
    "latency_ms",
)
_MOST_MS: Final = 2**31 - 1  # of the table's `integer`
_MOST_CHARACTERS: Final = 500  # of a text in a row that was refused; a model's name or an id has fewer
_DISPENSABLE: Final = ("key_id", "actor", "error_code", "provider_request_id", "ttft_ms", "booking")


def row_json(row: UsageRow) -> bytes:
    """The row as one flat JSON object without a line feed; no amount in it is above what every store takes."""
    tokens, caller = row.tokens, row.caller
    fields: dict[str, Any] = {
        "tenant_id": caller.tenant_id,
        "id": row.request_id,
        "at": row.at,
        "key_id": caller.key_id,
        "subject": caller.subject,
        "actor": caller.actor,
        "operation": row.operation,
        "requested_model": row.requested_model,
        "model": row.model,
        "provider": row.provider,
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write + tokens.cache_write_1h,
        "cache_write_1h_tokens": tokens.cache_write_1h,
        "tokens_estimated": tokens.estimated,
        "price_version": row.price_version,
        "price": row.price,
        "cost_usd_micros": row.cost_usd_micros,
        "cost_basis": row.cost_basis,
        "reserved_usd_micros": row.reserved_usd_micros,
        "uncertain_usd_micros": row.uncertain_usd_micros,
        "over_bound": row.over_bound,
        "provider_request_id": row.provider_request_id,
        "charged_tokens": row.charged_tokens,
        "latency_ms": row.latency_ms,
        "ttft_ms": row.ttft_ms,
        "status": row.status,
        "error_code": row.error_code,
        "charges": row.charges,
        **({} if row.booking is None else {"booking": asdict(row.booking)}),
    }
    if max(map(fields.__getitem__, _AMOUNTS)) > MOST_AMOUNT:
        fields.update({name: min(fields[name], MOST_AMOUNT) for name in _AMOUNTS})
    return _json(fields)


def mended(row: bytes) -> Iterator[bytes]:
    """What to store of a row that the store refuses: all of it with values that it takes, then only what must be."""
    try:
        fields = json.loads(row)  # also what orjson refuses
    except ValueError:
        return
    whole = {name: _storable(name, value) for name, value in fields.items()}
    yield _json(whole)
    yield _json({name: value for name, value in whole.items() if name not in _DISPENSABLE})


def _storable(name: str, value: Any) -> Any:
    if isinstance(value, str):
        # PostgreSQL has neither NUL nor half of a surrogate pair.
        return value.replace("\0", "").encode("utf-8", "replace").decode()[:_MOST_CHARACTERS]
    if isinstance(value, int) and not isinstance(value, bool):
        return max(0, min(value, _MOST_MS if name.endswith("_ms") else MOST_AMOUNT))
    if isinstance(value, list):
        return [_storable(name, item) for item in value]
    if isinstance(value, dict):
        return {key: _storable(key, item) for key, item in value.items()}
    return value


def opening_json(opening: Opening) -> bytes:
    """The opening as one flat JSON object without a line feed."""
    caller = opening.caller
    return _json(
        {
            "tenant_id": caller.tenant_id,
            "at": opening.at,
            "key_id": caller.key_id,
            "subject": caller.subject,
            "actor": caller.actor,
            "operation": opening.operation,
            "requested_model": opening.requested_model,
            "model": opening.model,
            "provider": opening.provider,
            "price_version": opening.price_version,
            "price": opening.price,
            "bound_tokens": opening.bound_tokens,
            "bound_usd_micros": opening.bound_usd_micros,
            "holds": opening.holds,
        }
    )


def unknown_row(request_id: str, opening: bytes, holder: str) -> bytes:
    """The row of a request that was open when its process, `holder`, was killed: its bound, since nobody counted."""
    fields = orjson.loads(opening)
    bound_usd_micros = fields.pop("bound_usd_micros")
    return _json(
        {
            **{name: value for name, value in fields.items() if name not in ("bound_tokens", "holds")},
            "id": request_id,
            "prompt_tokens": fields["bound_tokens"],
            "completion_tokens": 0,
            "cache_read_tokens": 0,
            "cache_write_tokens": 0,
            "cache_write_1h_tokens": 0,
            "tokens_estimated": True,
            "cost_usd_micros": bound_usd_micros,
            "cost_basis": "bound",
            "reserved_usd_micros": bound_usd_micros,
            "uncertain_usd_micros": 0,
            "over_bound": False,
            "provider_request_id": None,
            "charged_tokens": fields["bound_tokens"],
            "latency_ms": 0,
            "ttft_ms": None,
            "status": "unknown",
            "error_code": KILLED,
            "charges": fields["holds"],
            "booking": asdict(Booking(holder, fields["holds"])),
        }
    )


def charges_of(closing: bytes) -> list[Charge]:
    """What a closing charges to budgets."""
    return [(account, amount) for account, amount in orjson.loads(closing)["charges"]]


def holds_of(opening: bytes) -> list[Charge]:
    """What an opening holds of budgets."""
    return [(account, amount) for account, amount in orjson.loads(opening)["holds"]]


def spent_json(amount: int) -> bytes:
    """What a process spent of an account, for a snapshot."""
    return b'{"spent":%d}' % amount


def spent_of(record: bytes) -> int:
    """The amount of `spent_json`."""
    amount: int = orjson.loads(record)["spent"]
    return amount


def _json(fields: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(fields)
    except TypeError:  # half a surrogate pair, or a number beyond 64 bits: the store decides, and the log has it whole
        return json.dumps(fields, default=str).encode()
