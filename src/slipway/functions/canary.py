"""Asks the platform from outside, as a user would: whether it lives, and whether requests are answered as they must be.

Called every few minutes by a schedule. It fails when the platform does, and an alarm counts its failures. Without a
credential the right answer to a request that needs one is a refusal, and it comes from the part that checks them.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from slipway.base.errors import Misconfigured, Unavailable
from slipway.functions.asking import ask
from slipway.functions.environment import Environment

CHECKS: Final[Mapping[str, int]] = {"/health": 200, "/v1/models": 401}


def handler(_event: Mapping[str, Any], _context: object) -> dict[str, float]:
    """Milliseconds of each answer, by path; raises Unavailable for the first that is not the right one.

    The variable CHECKS has other paths with the status that each must answer; 0 is any that is no failure.
    """
    environment = Environment()
    url = environment.text("PLATFORM_URL")
    checks = environment.mapping("CHECKS") if environment.optional("CHECKS") else CHECKS
    if not all(isinstance(status, int) for status in checks.values()):
        raise Misconfigured("The function's variable CHECKS has something else than statuses.")
    return {path: check(url, path, status) for path, status in checks.items()}


def check(url: str, path: str, status: int) -> float:
    """Milliseconds of one answer."""
    started = time.monotonic()
    answer = ask(url, path)
    if answer.status == 0:
        raise Unavailable(f"{url}{path} does not answer: {answer.body}.")
    right = answer.status < 500 if status == 0 else answer.status == status
    if not right:
        raise Unavailable(f"{url}{path} answered {answer.status}.")
    if status == 200 and answer.content is None:
        raise Unavailable(f"{url}{path} answered something that is no JSON: is it the platform?")
    return round((time.monotonic() - started) * 1000, 1)
