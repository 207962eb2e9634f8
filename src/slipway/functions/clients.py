"""AWS clients of the functions: few attempts and short waits, since the function's own time is bounded."""

from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

_CONFIG = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"})


@cache
def client(service: str, region: str | None = None) -> Any:
    """The client of one service; kept while the function is warm. `region` is the function's own when left out."""
    return boto3.client(service, region_name=region, config=_CONFIG)  # type: ignore[call-overload]


def parameter_of(name: str) -> str | None:
    """The value of a parameter, or nothing when there is none."""
    try:
        answer = client("ssm").get_parameter(Name=name, WithDecryption=True)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ParameterNotFound":
            return None
        raise
    value: str = answer["Parameter"]["Value"]
    return value


def code_of(error: ClientError) -> str:
    """The error's name, as AWS's API states it."""
    code: str = error.response["Error"]["Code"]
    return code
