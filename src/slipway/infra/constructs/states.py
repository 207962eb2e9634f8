"""States of a Step Functions machine as typed values, and the document in the Amazon States Language that they make.

No CDK here: tests walk a definition as it stands. Functions and topics are named, and `${Name}` stands for their ARN in
the document, so that it is plain JSON which cfn-lint reads too. JSONPath is the query language: a key that ends in `.$`
has a path as its value (docs.aws.amazon.com/step-functions/latest/dg/concepts-amazon-states-language.html).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Document = dict[str, Any]
ANY_ERROR: Final = "States.ALL"
ERROR: Final = "$.error"  # where a caught error is kept: `$.error.Error` is its name, `$.error.Cause` what it says
# What Lambda itself answers when a function could not be run; a second try is right for each.
LAMBDA_ERRORS: Final = (
    "Lambda.AWSLambdaException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
    "Lambda.TooManyRequestsException",
)
# Placeholders of what Step Functions does itself, whose ARN has the partition in it.
SERVICES: Final[Mapping[str, str]] = {"CallFunction": "lambda:invoke", "PublishMessage": "sns:publish"}
_CALL: Final = "${CallFunction}"
_PUBLISH: Final = "${PublishMessage}"
_PLACEHOLDER: Final = re.compile(r"\$\{([A-Za-z0-9]+)\}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ?_-]{0,79}")
_LONGEST_S: Final = 365 * 24 * 3600  # of a standard machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Tries a task again when it ends with one of `errors`.

    `attempts` counts all, the first included. The first pause is `first_s`, each later one `factor` times as long, none
    longer than `longest_s`; each is drawn between nothing and that, so that many executions do not come back at once.
    """

    attempts: int
    errors: tuple[str, ...] = (ANY_ERROR,)
    first_s: int = 2
    factor: float = 2.0
    longest_s: int = 60

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_s < 1 or self.factor < 1 or self.longest_s < self.first_s:
            raise ValueError(f"{self}: attempts, pauses and factor are 1 or more, and the longest pause is the longest")
        if not self.errors or (ANY_ERROR in self.errors and len(self.errors) > 1):
            raise ValueError(f"{self.errors}: name some errors, or {ANY_ERROR} alone")

    def document(self) -> Document:
        """As Step Functions reads it, where `MaxAttempts` counts what comes after the first."""
        return {
            "ErrorEquals": list(self.errors),
            "IntervalSeconds": self.first_s,
            "BackoffRate": self.factor,
            "MaxAttempts": self.attempts - 1,
            "MaxDelaySeconds": self.longest_s,
            "JitterStrategy": "FULL",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the function named `function`.

    `answers` are fields of its answer that are kept under `kept_at`; without any the answer is forgotten. An error that
    no retry mends leads to `caught`, with the error at `$.error`; without `caught` it ends the execution.
    """

    function: str
    payload: Mapping[str, Any]
    next: str
    timeout_s: int
    retries: tuple[Retry, ...] = ()
    answers: tuple[str, ...] = ()
    kept_at: str = "$.work"
    caught: str | None = None

    def __post_init__(self) -> None:
        if self.timeout_s < 1:
            raise ValueError(f"{self.timeout_s} s: a call has a second or more")

    def targets(self) -> Iterator[str]:
        """The states that may follow."""
        yield self.next
        if self.caught is not None:
            yield self.caught

    def document(self) -> Document:
        """As Step Functions reads it."""
        kept: Document = {"ResultPath": None}
        if self.answers:
            selected = {f"{name}.$": f"$.Payload.{name}" for name in self.answers}
            kept = {"ResultSelector": selected, "ResultPath": self.kept_at}
        return {
            "Type": "Task",
            "Resource": _CALL,
            "Parameters": {"FunctionName": f"${{{self.function}}}", "Payload": dict(self.payload)},
            **kept,
            **_guarded(self.timeout_s, self.retries, self.caught),
            "Next": self.next,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Publishes to the topic named `topic`. Each `{}` of `message` is the value at a path of `fields`."""

    topic: str
    subject: str
    message: str
    next: str
    fields: tuple[str, ...] = ()
    timeout_s: int = 30
    retries: tuple[Retry, ...] = (Retry(attempts=5),)
    caught: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.subject) <= 100 or not self.subject.isascii():
            raise ValueError(f"{self.subject!r}: SNS takes a subject of 1 to 100 ASCII characters")
        if self.message.count("{}") != len(self.fields):
            raise ValueError(f"{self.message!r} has not as many places as there are fields: {self.fields}")
        if "'" in self.message or "\\" in self.message:
            raise ValueError(f"{self.message!r}: a quote or a backslash would end the text within the expression")

    def targets(self) -> Iterator[str]:
        """The states that may follow."""
        yield self.next
        if self.caught is not None:
            yield self.caught

    def document(self) -> Document:
        """As Step Functions reads it."""
        said: Document = {"Message": self.message}
        if self.fields:
            said = {"Message.$": f"States.Format('{self.message}', {', '.join(self.fields)})"}
        return {
            "Type": "Task",
            "Resource": _PUBLISH,
            "Parameters": {"TopicArn": f"${{{self.topic}}}", "Subject": self.subject, **said},
            "ResultPath": None,
            **_guarded(self.timeout_s, self.retries, self.caught),
            "Next": self.next,
        }


@dataclass(frozen=True, slots=True)
class Case:
    """Where the value at `path` leads when it equals `value`; a path that leads nowhere equals nothing."""

    path: str
    value: str | bool
    next: str

    def document(self) -> Document:
        """As Step Functions reads it."""
        comparison = "BooleanEquals" if isinstance(self.value, bool) else "StringEquals"
        present = {"Variable": self.path, "IsPresent": True}
        return {"And": [present, {"Variable": self.path, comparison: self.value}], "Next": self.next}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choose:
    """Goes where the first case that fits leads, else to `otherwise`."""

    cases: tuple[Case, ...]
    otherwise: str

    def targets(self) -> Iterator[str]:
        """The states that may follow."""
        yield from (case.next for case in self.cases)
        yield self.otherwise

    def document(self) -> Document:
        """As Step Functions reads it."""
        return {
            "Type": "Choice",
            "Choices": [case.document() for case in self.cases],
            "Default": self.otherwise,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Waits."""

    seconds: int
    next: str

    def targets(self) -> Iterator[str]:
        """The states that may follow."""
        yield self.next

    def document(self) -> Document:
        """As Step Functions reads it."""
        return {"Type": "Wait", "Seconds": self.seconds, "Next": self.next}


@dataclass(frozen=True, slots=True)
class Succeed:
    """The end, and it is good."""

    def targets(self) -> Iterator[str]:
        """Nothing follows."""
        yield from ()

    def document(self) -> Document:
        """As Step Functions reads it."""
        return {"Type": "Succeed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """The end, and the execution failed."""

    error: str
    cause: str

    def targets(self) -> Iterator[str]:
        """Nothing follows."""
        yield from ()

    def document(self) -> Document:
        """As Step Functions reads it."""
        return {"Type": "Fail", "Error": self.error, "Cause": self.cause}


State = Call | Tell | Choose | Pause | Succeed | Fail


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A machine: where it starts, its states by name, and after how many seconds it is ended whatever it does.

    An end by that limit is not caught by any state: what must be undone has to be, in time, by the states themselves.
    Raises ValueError for a state that is not there, that nothing leads to, or that has no name Step Functions takes.
    """

    comment: str
    start: str
    limit_s: int
    states: Mapping[str, State] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.limit_s <= _LONGEST_S:
            raise ValueError(f"{self.limit_s} s: an execution lasts from a second to a year")
        for name in self.states:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a state: letters, digits, spaces, at most 80")
        reached, waiting = set[str](), [self.start]
        while waiting:
            name = waiting.pop()
            if name not in self.states:
                raise ValueError(f"there is no state {name!r}")
            if name not in reached:
                reached.add(name)
                waiting.extend(self.states[name].targets())
        if missed := sorted(self.states.keys() - reached):
            raise ValueError(f"nothing leads to {', '.join(missed)}")
        if not any(isinstance(self.states[name], Succeed | Fail) for name in reached):
            raise ValueError("no state ends it")

    def document(self) -> Document:
        """As Step Functions reads it, with placeholders."""
        return {
            "Comment": self.comment,
            "StartAt": self.start,
            "TimeoutSeconds": self.limit_s,
            "States": {name: state.document() for name, state in self.states.items()},
        }

    def placeholders(self) -> frozenset[str]:
        """What a machine must be given: names of functions, of topics, and of `SERVICES`."""
        return frozenset(_PLACEHOLDER.findall(json.dumps(self.document())))


def _guarded(timeout_s: int, retries: tuple[Retry, ...], caught: str | None) -> Document:
    found: Document = {"TimeoutSeconds": timeout_s}
    if retries:
        found["Retry"] = [retry.document() for retry in retries]
    if caught is not None:
        found["Catch"] = [{"ErrorEquals": [ANY_ERROR], "ResultPath": ERROR, "Next": caught}]
    return found
