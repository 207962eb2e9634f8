"""The administrator's key of a platform on AWS: once, into its secret, and told to nobody."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from moto import mock_aws

from slipway.app.administrator import administrator_key_keep
from slipway.base.errors import Unavailable
from slipway.runtime.authentication.api_keys import api_key_prefix
from slipway.runtime.database import Database
from slipway.runtime.migrations import migrate
from slipway.runtime.postgres import EmbeddedAddresses, EmbeddedPostgres

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAddresses]:
    """A database without a tenant."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("administrator"))
    addresses = server.start()
    try:
        migrate(addresses.owner_url)
        yield addresses
    finally:
        server.stop()


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with mock_aws():
        yield boto3.client("secretsmanager", region_name="eu-west-1")


async def test_the_key_is_put_once_and_again_when_it_is_gone(
    empty: EmbeddedAddresses, secrets: Any, caplog: pytest.LogCaptureFixture
):
    arn = secrets.create_secret(Name="administrator")["ARN"]
    database = await Database.open(empty.app_url, max_connections=2)
    try:
        await administrator_key_keep(database, arn)
        key = secrets.get_secret_value(SecretId=arn)["SecretString"]
        await administrator_key_keep(database, arn)
        assert secrets.get_secret_value(SecretId=arn)["SecretString"] == key
        another = secrets.create_secret(Name="another")["ARN"]
        await administrator_key_keep(database, another)
    finally:
        await database.close()
    other = secrets.get_secret_value(SecretId=another)["SecretString"]
    with psycopg.connect(empty.owner_url) as owner:
        owner.execute("SET ROLE slipway_platform")
        kept = {prefix for (prefix,) in owner.execute("SELECT prefix FROM api_key").fetchall()}
    assert kept == {api_key_prefix(key), api_key_prefix(other)}
    assert key not in caplog.text


async def test_a_secret_that_is_not_there_stops_the_start(empty: EmbeddedAddresses, secrets: Any):
    database = await Database.open(empty.app_url, max_connections=2)
    try:
        with pytest.raises(Unavailable, match="SLIPWAY_ADMINISTRATOR_SECRET_ARN"):
            await administrator_key_keep(database, "arn:aws:secretsmanager:eu-west-1:123456789012:secret:none")
    finally:
        await database.close()
