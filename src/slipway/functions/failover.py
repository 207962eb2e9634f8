"""The steps of a failover, each one call of this function by the state machine in the recovery region.

`probe` measures each minute whether the first region answers, `confirm` asks again before anything is done, `restore`
brings back one store, `services` makes the stacks of the plan, `dns` waits until the domain leads here, and `validate`
asks as a user does. A step that is not done is called again with the state that it answered.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from slipway.base.errors import InvalidRequest, Misconfigured
from slipway.functions.asking import ask, is_healthy
from slipway.functions.clients import client
from slipway.functions.environment import Environment
from slipway.functions.restoring import restored
from slipway.functions.stack_plan import made

_METRIC: Final = "Reachable"
_ASKED: Final = 4
_PAUSE_S: Final = 10.0

Step = Callable[[Mapping[str, Any], Environment], dict[str, Any]]
State = dict[str, Any]


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """One step; raises InvalidRequest for one that there is not."""
    return stepped(event, Environment())


def stepped(event: Mapping[str, Any], environment: Environment) -> dict[str, Any]:
    """The same with an environment of one's own."""
    step = _STEPS.get(str(event.get("step")))
    if step is None:
        raise InvalidRequest(f"{event.get('step')!r} is no step of a failover.")
    return step(event, environment)


def _probe(_event: Mapping[str, Any], environment: Environment) -> dict[str, Any]:
    reachable = is_healthy(environment.text("SLIPWAY_PUBLIC_URL"))
    measure(environment, _METRIC, reachable)
    return {"reachable": reachable}


def _confirm(event: Mapping[str, Any], environment: Environment) -> dict[str, Any]:
    """Lost only when nobody answers for a while and no other failover is under way."""
    if _others(str(event.get("execution", ""))):
        return {"lost": False}
    url = environment.text("SLIPWAY_PUBLIC_URL")
    for attempt in range(_ASKED):
        if attempt:
            time.sleep(_PAUSE_S)
        if is_healthy(url):
            return {"lost": False}
    return {"lost": True}


def _others(execution: str) -> list[str]:
    """Executions of the same machine that run beside this one."""
    parts = execution.split(":")
    if len(parts) != 8 or parts[5] != "execution":
        raise InvalidRequest(f"{execution!r} is no execution of a state machine.")
    machine = ":".join((*parts[:5], "stateMachine", parts[6]))
    running = client("stepfunctions").list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"]
    return [each["executionArn"] for each in running if each["executionArn"] != execution]


def _restore(event: Mapping[str, Any], environment: Environment) -> dict[str, Any]:
    name = str(event.get("store"))
    store = environment.mapping("SLIPWAY_STORES").get(name)
    if not isinstance(store, dict):
        raise Misconfigured(f"The failover knows no store {name!r}.")
    return restored(name, store, dict(event.get("state") or {}), environment)


def _services(event: Mapping[str, Any], environment: Environment) -> dict[str, Any]:
    return made(dict(event.get("state") or {}), environment)


def _dns(event: Mapping[str, Any], environment: Environment) -> dict[str, Any]:
    """Route 53 leads the domain here by itself once something healthy answers: this waits for it."""
    return {"done": is_healthy(environment.text("SLIPWAY_PUBLIC_URL")), "state": dict(event.get("state") or {})}


def _validate(event: Mapping[str, Any], environment: Environment) -> dict[str, Any]:
    """The platform lives, and refuses who has no credential."""
    url = environment.text("SLIPWAY_PUBLIC_URL")
    done = is_healthy(url) and ask(url, "/v1/models").status == 401
    return {"done": done, "state": dict(event.get("state") or {})}


def measure(environment: Environment, name: str, good: bool) -> None:
    """A metric that is 1 or 0, in the platform's own namespace."""
    client("cloudwatch").put_metric_data(
        Namespace=environment.text("SLIPWAY_METRICS"),
        MetricData=[{"MetricName": name, "Value": 1.0 if good else 0.0, "Unit": "Count"}],
    )


_STEPS: Final[Mapping[str, Step]] = {
    "probe": _probe,
    "confirm": _confirm,
    "restore": _restore,
    "services": _services,
    "dns": _dns,
    "validate": _validate,
}
