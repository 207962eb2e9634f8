"""What all wire types share: unknown keys refused on the way in, lists in one envelope, problems (RFC 9457)."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from slipway.base.ids import is_id

Item = TypeVar("Item")

# An identifier of ours in a path or a body: any text of this form is looked up, so that a malformed id and another
# tenant's id get the same answer.
Identifier = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9_.\-]+$")]


def cursor_of(kind: str) -> AfterValidator:
    """For the query parameter of a list that is paged by the ids of `kind`: only what a page gave as `next`."""

    def checked(cursor: str | None) -> str | None:
        if cursor is not None and not is_id(cursor, kind):
            raise ValueError("not the `next` of a page before: leave it out for the first page")
        return cursor

    return AfterValidator(checked)


class Request(BaseModel):
    """A body that is sent to us; unknown keys are an error, so that a misspelt option is never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        if _holds_nul(value):
            raise ValueError("text cannot hold the character U+0000: leave it out")  # PostgreSQL stores none
        return value


class Response(BaseModel):
    """A body that we send; the client ignores keys that a newer server adds."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Page(Response, Generic[Item]):
    """One page of a list; `next` is the cursor of the following page, absent on the last one."""

    items: list[Item]
    next: str | None = None

    @classmethod
    def of(cls, found: Sequence[Item], limit: int, cursor: Callable[[Item], str]) -> "Page[Item]":
        """The first `limit` of `found`, of which one more was asked for to learn whether another page follows."""
        items = list(found[:limit])
        return cls(items=items, next=cursor(items[-1]) if len(found) > limit else None)


class InvalidField(Response):
    """One thing that is wrong with a request: where it stands and what to write instead."""

    field: str = Field(description="Where, like `body.limit` or `query.cursor`.")
    message: str


class Problem(Response):
    """An error as `application/problem+json` (RFC 9457) with our stable `code`."""

    type: str = Field(description="A link to the documentation of this code.")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable name of the kind of error; programs branch on this.")
    request_id: str
    retryable: bool = False
    errors: list[InvalidField] | None = Field(
        default=None, description="For `invalid_request`: each field that is wrong."
    )


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, BaseModel):
        return any(_holds_nul(item) for _, item in value)
    return isinstance(value, list | tuple) and any(_holds_nul(item) for item in value)
