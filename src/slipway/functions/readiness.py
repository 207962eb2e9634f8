"""Looks each week whether a failover would find what it needs, and changes nothing.

Backups no older than the recovery point that is asked for, a copy of PostgreSQL that follows, a plan of stacks. The
metric `RecoveryReady` is 1 when nothing is missing; what is missing stands in the answer and in the log.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from slipway.base.errors import Misconfigured, SlipwayError
from slipway.functions.clients import client, code_of
from slipway.functions.environment import Environment
from slipway.functions.failover import measure
from slipway.functions.recovery_points import RESOURCE_TYPES, newest
from slipway.functions.stack_plan import plan_of

_METRIC: Final = "RecoveryReady"


def handler(_event: object, _context: object) -> dict[str, Any]:
    """Whether all is there, and what is not."""
    return looked(Environment(), datetime.now(UTC))


def looked(environment: Environment, now: datetime) -> dict[str, Any]:
    """The same at a given time."""
    missing = list(_missing(environment, now))
    measure(environment, _METRIC, not missing)
    for line in missing:
        sys.stderr.write(json.dumps({"level": "error", "message": line}) + "\n")
    return {"ready": not missing, "missing": missing}


def _missing(environment: Environment, now: datetime) -> Iterator[str]:
    for name, store in sorted(environment.mapping("SLIPWAY_STORES").items()):
        if not isinstance(store, dict) or store.get("kind") not in RESOURCE_TYPES:
            raise Misconfigured(f"The store {name!r} is of no kind that can be looked at.")
        if store.get("by") == "backup":
            yield from _backups(name, store, environment, now)
        elif store["kind"] == "postgres":
            yield from _copy(store)
    try:
        plan_of(environment)
    except SlipwayError as error:
        yield error.public


def _backups(name: str, store: Mapping[str, Any], environment: Environment, now: datetime) -> Iterator[str]:
    points = newest(environment.text("SLIPWAY_VAULT"), store["kind"], store.get("source"))
    if not points:
        yield f"{name}: there is no backup in the recovery region."
    limit_s = float(store.get("rpo_seconds") or environment.optional("SLIPWAY_RPO_SECONDS") or "inf")
    for point in points:
        age_s = (now - point.made_at).total_seconds()
        if age_s > limit_s:
            yield (
                f"{name}: the newest backup of {point.resource_arn} is {age_s / 3600:.1f} h old, "
                f"and {limit_s / 3600:.1f} h are allowed."
            )


def _copy(store: Mapping[str, Any]) -> Iterator[str]:
    """The second cluster is there, well, and still follows the first."""
    rds = client("rds")
    try:
        cluster = rds.describe_db_clusters(DBClusterIdentifier=store["cluster"])["DBClusters"][0]
        whole = rds.describe_global_clusters(GlobalClusterIdentifier=store["global_cluster"])["GlobalClusters"][0]
    except ClientError as error:
        if code_of(error) not in ("DBClusterNotFoundFault", "GlobalClusterNotFoundFault"):
            raise
        yield f"postgres: {error.response['Error']['Message']}"
        return
    if cluster["Status"] != "available":
        yield f"postgres: the copy {store['cluster']} is {cluster['Status']}."
    members = [each for each in whole["GlobalClusterMembers"] if each["DBClusterArn"] == cluster["DBClusterArn"]]
    if not members:
        yield f"postgres: the copy {store['cluster']} follows no first cluster."
    elif members[0].get("SynchronizationStatus") not in (None, "connected"):
        yield f"postgres: the copy {store['cluster']} is {members[0]['SynchronizationStatus']}."
