"""The first administrator's key where a process's output is a log: it goes into a secret, once, and nowhere else.

On a laptop the key is told and kept in the home (`lifecycle`). A task on AWS has no home that lasts, and CloudWatch
keeps what it prints: the part that bootstraps puts the key into the secret that `SLIPWAY_ADMINISTRATOR_SECRET_ARN`
names, unless one is there. Whoever may read the secret is an administrator.
"""

import asyncio
import logging
from typing import Any, Final, Protocol, cast

from slipway.base.errors import Unavailable
from slipway.runtime.database import Database
from slipway.services.identity.bootstrap import admin_key_new, bootstrap

_log = logging.getLogger(__name__)
_NO_VALUE: Final = "ResourceNotFoundException"  # also of a secret that has no value yet


class Secrets(Protocol):
    """What is asked of Secrets Manager."""

    def get_secret_value(self, *, SecretId: str) -> Any:  # noqa: N803 - AWS's own name
        """The value; raises ClientError without one."""

    def put_secret_value(self, *, SecretId: str, SecretString: str) -> Any:  # noqa: N803
        """Sets the value."""


async def administrator_key_keep(database: Database, secret_arn: str) -> None:
    """Makes the first tenant if there is none, and an administrator's key if the secret holds none.

    Raises Unavailable when the secret can be neither read nor written.
    """
    first = await bootstrap(database)
    client = await asyncio.to_thread(_client, secret_arn)
    if first is None and await asyncio.to_thread(_has_value, client, secret_arn):
        return
    made = first or await admin_key_new(database)
    await asyncio.to_thread(_put, client, secret_arn, made.key_secret)
    _log.info("an administrator's key was made and put into its secret")


def _client(secret_arn: str) -> Secrets:
    import boto3  # a laptop's start does without

    return cast("Secrets", boto3.session.Session().client("secretsmanager", region_name=secret_arn.split(":")[3]))


def _has_value(client: Secrets, secret_arn: str) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.get_secret_value(SecretId=secret_arn)
    except ClientError as error:
        if error.response["Error"]["Code"] == _NO_VALUE:
            return False
        raise _unavailable(error) from error
    except BotoCoreError as error:
        raise _unavailable(error) from error
    return True


def _put(client: Secrets, secret_arn: str, value: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.put_secret_value(SecretId=secret_arn, SecretString=value)
    except (BotoCoreError, ClientError) as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(
        "The administrator's key cannot be kept: check SLIPWAY_ADMINISTRATOR_SECRET_ARN and the role's rights.",
        detail=str(error),
    )
