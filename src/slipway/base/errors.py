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
`status` is the HTTP status of each: `runtime/http/problems.py` answers with it, the client in `api/` reads it back.
"""

from typing import ClassVar, Final

_DEFECT: Final = "Something went wrong on our side."


class SlipwayError(Exception):
    """An error with a public sentence, a private detail, and whether trying again can help.

    `effect_unknown`: what was asked of somebody else may have been done, and charged, all the same.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable_by_default: ClassVar[bool] = False

    def __init__(
        self,
        public: str,
        *,
        detail: str = "",
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        effect_unknown: bool = False,
    ) -> None:
        super().__init__(public)
        self.public = public
        self.detail = detail
        self.retryable = self.retryable_by_default if retryable is None else retryable
        self.retry_after_s = retry_after_s
        self.effect_unknown = effect_unknown

    def __str__(self) -> str:
        """Both texts, for logs on this machine."""
        return f"{self.public} ({self.detail})" if self.detail else self.public


class InvalidRequest(SlipwayError):
    code = "invalid_request"
    status = 400


class Unauthenticated(SlipwayError):
    code = "unauthenticated"
    status = 401


class BudgetExceeded(SlipwayError):
    code = "budget_exceeded"
    status = 402


class Forbidden(SlipwayError):
    code = "forbidden"
    status = 403


class NotFound(SlipwayError):
    code = "not_found"
    status = 404


class Conflict(SlipwayError):
    code = "conflict"
    status = 409


class TooLarge(SlipwayError):
    code = "too_large"
    status = 413


class UnsupportedType(SlipwayError):
    code = "unsupported_type"
    status = 415


class LimitExceeded(SlipwayError):
    code = "limit_exceeded"
    status = 429
    retryable_by_default = True


class Internal(SlipwayError):
    code = "internal"
    status = 500


class Misconfigured(SlipwayError):
    code = "misconfigured"
    status = 500


class UpstreamFailed(SlipwayError):
    code = "upstream_failed"
    status = 502
    retryable_by_default = True


class Unavailable(SlipwayError):
    code = "unavailable"
    status = 503
    retryable_by_default = True


class DeadlineExceeded(SlipwayError):
    code = "deadline_exceeded"
    status = 504
    retryable_by_default = True


class StorageFull(SlipwayError):
    code = "storage_full"
    status = 507
    retryable_by_default = True


ERRORS: Final[dict[str, type[SlipwayError]]] = {error.code: error for error in SlipwayError.__subclasses__()}


def kind_of(status: int) -> type[SlipwayError]:
    """The error that an HTTP status stands for when nothing else tells; the status need not be one of ours."""
    general: type[SlipwayError] = InvalidRequest if status < 500 else Internal
    return next((error for error in ERRORS.values() if error.status == status), general)


def defect(detail: str) -> Internal:
    """A defect of ours: what is wrong is for the log, whoever asked only learns that it is not their fault."""
    return Internal(_DEFECT, detail=detail)


def as_ours(error: Exception) -> SlipwayError:
    """The error itself when it is of the closed set; anything else is a defect."""
    return error if isinstance(error, SlipwayError) else defect(repr(error))
