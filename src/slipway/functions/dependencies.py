"""Asks the systems outside that the manifest names, like a managed MongoDB, whether they are there.

Called every few minutes by a schedule. It measures 1 or 0 for each and fails when one is away, so that an alarm tells
which. It signs in nowhere: the address of a dependency is its secret's URL, which is neither logged nor handed on.
"""

import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from slipway.base.errors import Unavailable
from slipway.functions.clients import client
from slipway.functions.environment import Environment
from slipway.functions.service_records import ask, hosts_of

METRIC: Final = "DependencyHealthy"
_TIMEOUT_S: Final = 5.0

Reader = Callable[[str], str]


def handler(_event: Mapping[str, Any], _context: object) -> dict[str, bool]:
    """Whether each dependency answers, by name; raises Unavailable, with their names, when some do not."""
    environment = Environment()
    found = check(environment.mapping("SLIPWAY_DEPENDENCIES"), _secret)
    client("cloudwatch").put_metric_data(
        Namespace=environment.text("SLIPWAY_METRICS"),
        MetricData=[
            {"MetricName": METRIC, "Dimensions": [{"Name": "Dependency", "Value": name}], "Value": float(well)}
            for name, well in found.items()
        ],
    )
    away = [name for name, well in found.items() if not well]
    if away:
        raise Unavailable(f"{', '.join(away)} cannot be reached.")
    return found


def check(dependencies: Mapping[str, Any], read: Reader) -> dict[str, bool]:
    """Whether each of `{name: {"secret", "port", "health"}}` is there; `read` gives a secret's value."""
    return {name: _is_well(each, read) for name, each in sorted(dependencies.items())}


def _is_well(dependency: Mapping[str, Any], read: Reader) -> bool:
    """False for whatever goes wrong: no address in the secret is as bad as nobody at it."""
    try:
        url = read(dependency["secret"]).strip()
        if dependency["health"] == "http":
            return _answers(url)
        return any(_connects(host, port) for host, port in _addresses(url, int(dependency["port"])))
    except (OSError, ValueError, LookupError, Unavailable, ClientError):
        return False


def _addresses(url: str, port: int) -> list[tuple[str, int]]:
    """Where a URL leads: to its hosts, or with `+srv` to those that a record of its host names."""
    scheme, hosts = hosts_of(url)
    if scheme.endswith("+srv"):
        return ask(f"_{scheme.removesuffix('+srv')}._tcp.{hosts[0][0]}")
    return [(host, given or port) for host, given in hosts]


def _connects(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S):
            return True
    except OSError:
        return False


def _answers(url: str) -> bool:
    if urlsplit(url).scheme not in ("http", "https"):
        return False
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 the scheme was looked at
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def _secret(arn: str) -> str:
    value: str = client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    return value
