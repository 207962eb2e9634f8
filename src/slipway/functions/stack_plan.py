"""Makes the stacks that a deploy planned for the recovery region, one after the other.

The plan is a JSON list in the region's own bucket, in order: `{"stack", "template_url", "parameters"}`. A parameter is
a text, or `{"restored": "postgres.endpoint"}` for what a restore found out.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from botocore.exceptions import ClientError

from slipway.base.errors import Misconfigured, Unavailable
from slipway.functions.clients import client, code_of
from slipway.functions.environment import Environment

_CAPABILITIES: Final = ("CAPABILITY_NAMED_IAM",)
_GONE: Final = ("NoSuchKey", "NoSuchBucket", "AccessDenied", "404")


def made(state: Mapping[str, Any], environment: Environment) -> dict[str, Any]:
    """Begins the next stack, or looks how far the present one is; raises Unavailable when one failed."""
    for entry in plan_of(environment):
        status = _status(entry["stack"])
        if status is None:
            _create(entry, state.get("restored") or [], environment)
            return {"done": False, "state": dict(state)}
        if status.endswith("_IN_PROGRESS"):
            return {"done": False, "state": dict(state)}
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"):
            raise Unavailable(f"The stack {entry['stack']} is {status}: its events say why.")
    return {"done": True, "state": dict(state)}


def plan_of(environment: Environment) -> Sequence[Mapping[str, Any]]:
    """The plan; raises Misconfigured when there is none, or what there is cannot be read."""
    bucket, key = environment.text("SLIPWAY_PLAN_BUCKET"), environment.text("SLIPWAY_PLAN_KEY")
    try:
        body = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if code_of(error) in _GONE:
            raise Misconfigured(f"No deploy put a plan at s3://{bucket}/{key}.") from error
        raise
    try:
        plan = json.loads(body)
    except ValueError:
        plan = None
    if not isinstance(plan, list) or not plan or not all(_is_entry(entry) for entry in plan):
        raise Misconfigured(f"What stands at s3://{bucket}/{key} is no plan of stacks.")
    return plan


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("stack"), str)
        and isinstance(entry.get("template_url"), str)
        and isinstance(entry.get("parameters", {}), dict)
    )


def _status(stack: str) -> str | None:
    try:
        found = client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        # CloudFormation has no code of its own for it.
        if code_of(error) == "ValidationError" and "does not exist" in error.response["Error"]["Message"]:
            return None
        raise
    status: str = found[0]["StackStatus"]
    return status


def _create(entry: Mapping[str, Any], restored: Sequence[Mapping[str, Any]], environment: Environment) -> None:
    parameters = {name: _value(name, value, restored) for name, value in sorted(entry.get("parameters", {}).items())}
    client("cloudformation").create_stack(
        StackName=entry["stack"],
        TemplateURL=entry["template_url"],
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=list(_CAPABILITIES),
        RoleARN=environment.text("SLIPWAY_STACK_ROLE"),
    )


def _value(name: str, value: object, restored: Sequence[Mapping[str, Any]]) -> str:
    """What stands there, or what a restore found out."""
    if isinstance(value, str):
        return value
    store, _, key = str(value.get("restored", "") if isinstance(value, dict) else "").partition(".")
    for each in restored:
        if each.get("store") == store and isinstance(each.get(key), str):
            return str(each[key])
    raise Misconfigured(f"The plan's parameter {name} is neither a text nor anything that was restored.")
