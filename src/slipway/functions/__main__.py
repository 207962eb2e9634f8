"""Lambda's side of the image: asks Lambda for events, hands each to the handler, and says what became of it.

Lambda starts the container with the handler's name as its argument and the address of its runtime API in the
environment (docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html). Written here because the platform's image is no
Lambda image: the loop is a page, and the usual client a compiled dependency in every image.
"""

import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib import import_module
from typing import Any, Final

from slipway.functions.environment import Environment, set_trace

_API: Final = "/2018-06-01/runtime"
_PREFIX: Final = "slipway.functions."
_MAX_ERROR: Final = 4096  # arbitrary; Lambda takes 64 KiB

Handler = Callable[[Any, "Context"], Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler may know of its invocation."""

    request_id: str
    deadline_ms: int
    function_arn: str


def main(arguments: list[str]) -> None:
    """Serves the handler that the image's command names, until Lambda ends the process."""
    runtime = Runtime(Environment().text("AWS_LAMBDA_RUNTIME_API"))
    try:
        handler = handler_of(arguments)
    except Exception as error:
        runtime.failed_start(error)
        raise
    while True:
        runtime.serve_one(handler)


def handler_of(arguments: list[str]) -> Handler:
    """The handler `slipway.functions.<name>.handler`; raises ValueError for any other name."""
    name = arguments[0] if len(arguments) == 1 else ""
    module, _, attribute = name.rpartition(".")
    if not module.startswith(_PREFIX) or attribute != "handler" or "_" in module.removeprefix(_PREFIX)[:1]:
        raise ValueError(f"{name!r} is none of slipway's handlers")
    handler: Handler = import_module(module).handler
    return handler


class Runtime:
    """The runtime API of one container."""

    def __init__(self, address: str) -> None:
        self._address = address

    def serve_one(self, handler: Handler) -> None:
        """Waits for an event, runs the handler, and answers with its result or its error."""
        headers, body = self._call("GET", "/invocation/next")
        request_id = headers["lambda-runtime-aws-request-id"]
        if "lambda-runtime-trace-id" in headers:
            set_trace(headers["lambda-runtime-trace-id"])
        context = Context(
            request_id,
            int(headers.get("lambda-runtime-deadline-ms", "0")),
            headers.get("lambda-runtime-invoked-function-arn", ""),
        )
        try:
            answer = json.dumps(handler(json.loads(body), context)).encode()
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is the answer to its event
            sys.stderr.write(json.dumps({"level": "error", "request_id": request_id, **_told(error)}) + "\n")
            self._call("POST", f"/invocation/{request_id}/error", _error(error), type(error).__name__)
        else:
            self._call("POST", f"/invocation/{request_id}/response", answer)

    def failed_start(self, error: Exception) -> None:
        """Says why no event can be served."""
        self._call("POST", "/init/error", _error(error), type(error).__name__)

    def _call(
        self, method: str, path: str, body: bytes | None = None, error: str | None = None
    ) -> tuple[dict[str, str], bytes]:
        # Without a timeout: the next event may be hours away, and Lambda freezes the process until then.
        connection = HTTPConnection(self._address)
        try:
            headers = {} if error is None else {"lambda-runtime-function-error-type": f"Slipway.{error}"}
            connection.request(method, _API + path, body, headers)
            response = connection.getresponse()
            content = response.read()
            if response.status >= 300:
                raise RuntimeError(f"Lambda's runtime API answered {response.status} to {method} {path}")
            return {name.lower(): value for name, value in response.getheaders()}, content
        finally:
            connection.close()


def _error(error: Exception) -> bytes:
    trace = traceback.format_exception(error)
    return json.dumps(
        {"errorType": type(error).__name__, "errorMessage": str(error)[:_MAX_ERROR], "stackTrace": trace[-10:]}
    ).encode()


def _told(error: Exception) -> dict[str, str]:
    return {"error": type(error).__name__, "message": str(error)[:_MAX_ERROR]}


if __name__ == "__main__":
    main(sys.argv[1:])
