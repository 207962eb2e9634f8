"""The closed set of errors that Slipway raises; every layer raises these and nothing else on purpose.

SlipwayError
├── InvalidRequest      400  the request itself is wrong; says what to write instead
├── Unauthenticated     401  no credential, or one that does not hold
├── BudgetExceeded      402  the tenant's money or token budget is used up
├── Forbidden           403  a good credential without the scope
├── NotFound            404  absent, or another tenant's: the two are not told apart
├── Conflict            409  the state of the object does not allow it
├── TooLarge            413  more bytes, pages or tokens than a stated limit
├── UnsupportedType     415  a kind of content that is not handled
├── LimitExceeded       429  a rate limit; `retry_after_s` says when it opens
├── Internal            500  a defect of ours
├── Misconfigured       500  settings or manifest are wrong: stops a start
├── UpstreamFailed      502  a model provider, issuer or object store answered with an error
├── Unavailable         503  a store or part is away; retry
├── DeadlineExceeded    504  time ran out
└── StorageFull         507  no room left on the device

`public` may leave the process; `detail` and causes never do. Adapters translate the errors of their SDKs into these.
The mapping to HTTP stands once, in `runtime/http/problems.py`; the client in `api/` maps it back by `code`.
"""

from typing import ClassVar


class SlipwayError(Exception):
    """An error with a public sentence, a private detail, and whether trying again can help."""

    code: ClassVar[str] = "internal"
    retryable_by_default: ClassVar[bool] = False

    def __init__(
        self,
        public: str,
        *,
        detail: str = "",
        retryable: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(public)
        self.public = public
        self.detail = detail
        self.retryable = self.retryable_by_default if retryable is None else retryable
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """Both texts, for logs on this machine."""
        return f"{self.public} ({self.detail})" if self.detail else self.public


class InvalidRequest(SlipwayError):
    code = "invalid_request"


class Unauthenticated(SlipwayError):
    code = "unauthenticated"


class BudgetExceeded(SlipwayError):
    code = "budget_exceeded"


class Forbidden(SlipwayError):
    code = "forbidden"


class NotFound(SlipwayError):
    code = "not_found"


class Conflict(SlipwayError):
    code = "conflict"


class TooLarge(SlipwayError):
    code = "too_large"


class UnsupportedType(SlipwayError):
    code = "unsupported_type"


class LimitExceeded(SlipwayError):
    code = "limit_exceeded"
    retryable_by_default = True


class Internal(SlipwayError):
    code = "internal"


class Misconfigured(SlipwayError):
    code = "misconfigured"


class UpstreamFailed(SlipwayError):
    code = "upstream_failed"
    retryable_by_default = True


class Unavailable(SlipwayError):
    code = "unavailable"
    retryable_by_default = True


class DeadlineExceeded(SlipwayError):
    code = "deadline_exceeded"
    retryable_by_default = True


class StorageFull(SlipwayError):
    code = "storage_full"
    retryable_by_default = True


ERRORS: dict[str, type[SlipwayError]] = {
    error.code: error
    for error in (
        InvalidRequest,
        Unauthenticated,
        BudgetExceeded,
        Forbidden,
        NotFound,
        Conflict,
        TooLarge,
        UnsupportedType,
        LimitExceeded,
        Internal,
        Misconfigured,
        UpstreamFailed,
        Unavailable,
        DeadlineExceeded,
        StorageFull,
    )
}
