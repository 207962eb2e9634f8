"""One suite over both object stores: the folder, and S3 as moto's server speaks it."""

import hashlib
import os
import resource
import secrets
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import httpx
import pytest
from moto.server import ThreadedMotoServer

from slipway.base.callers import Caller
from slipway.base.errors import Forbidden, InvalidRequest, Misconfigured, NotFound, StorageFull, TooLarge, Unavailable
from slipway.base.ids import new_id
from slipway.runtime.objects import Objects
from slipway.runtime.objects.folder import FolderObjects
from slipway.runtime.objects.s3 import S3Objects
from slipway.runtime.objects.stores import open_objects
from slipway.runtime.objects.upload_tokens import UploadGrant, UploadTokens
from slipway.runtime.settings import Settings

pytestmark = pytest.mark.anyio

SECRET = b"another secret of these tests, 32 bytes"
MIB = 2**20


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def s3_objects(url: str, bucket: str) -> S3Objects:
    return S3Objects.open(
        bucket,
        "platform",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def folder_objects(root: Path) -> FolderObjects:
    return FolderObjects(root, tokens=UploadTokens([SECRET]), upload_url="http://stand/objects")


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return folder_objects(tmp_path / "objects")
    store = s3_objects(request.getfixturevalue("s3_url"), f"bucket-{secrets.token_hex(6)}")
    store._client.create_bucket(Bucket=store._bucket)
    return store


@pytest.fixture
def caller() -> Caller:
    return Caller(new_id("ten"), new_id("usr"), frozenset())


async def pieces(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def read(objects: Objects, caller: Caller, key: str) -> bytes:
    return b"".join([piece async for piece in objects.read(caller, key)])


@pytest.mark.parametrize("size", [0, 1, 300_000, 17 * MIB + 5])
async def test_what_is_put_comes_back(objects, caller, tmp_path, size) -> None:
    content = os.urandom(size)
    stored = await objects.put(caller, "documents/doc_1/original", pieces(content), max_bytes=20 * MIB)
    assert (stored.size_bytes, stored.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert await read(objects, caller, stored.key) == content
    fetched = await objects.fetch(caller, stored.key, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    found = await objects.stat(caller, stored.key)
    assert found is not None
    assert found.size_bytes == fetched.size_bytes == size


async def test_a_put_replaces_and_a_delete_is_repeatable(objects, caller) -> None:
    await objects.put(caller, "a/b", pieces(b"old"), max_bytes=10)
    await objects.put(caller, "a/b", pieces(b"new"), max_bytes=10)
    assert await read(objects, caller, "a/b") == b"new"
    for _ in range(2):
        await objects.delete(caller, "a/b")
        assert await objects.stat(caller, "a/b") is None


async def test_a_folder_goes_with_all_in_it_and_nothing_beside_it(objects, caller) -> None:
    for key in ("doc/1/original", "doc/1/text-a", "doc/10/original", "doc/2"):
        await objects.put(caller, key, pieces(b"x"), max_bytes=10)
    for _ in range(2):
        await objects.delete_under(caller, "doc/1")
    kept = [
        key for key in ("doc/1/original", "doc/1/text-a", "doc/10/original", "doc/2") if await objects.stat(caller, key)
    ]
    assert kept == ["doc/10/original", "doc/2"]


async def test_absent_objects_are_not_found(objects, caller, tmp_path) -> None:
    with pytest.raises(NotFound):
        await read(objects, caller, "nothing")
    with pytest.raises(NotFound):
        await objects.fetch(caller, "nothing", tmp_path / "copy")
    assert await objects.stat(caller, "nothing") is None


async def test_tenants_are_apart_and_keys_cannot_leave_theirs(objects, caller) -> None:
    other = Caller(new_id("ten"), new_id("usr"), frozenset())
    await objects.put(caller, "secret", pieces(b"mine"), max_bytes=10)
    assert await objects.stat(other, "secret") is None
    for key in (
        f"../{caller.tenant_id}/secret",
        "..",
        "a/../b",
        "/etc/passwd",
        "a//b",
        "",
        ".incoming/x",
        "a\\b",
        "a\0",
    ):
        with pytest.raises(InvalidRequest):
            await objects.stat(other, key)
        with pytest.raises(InvalidRequest):
            await objects.put(other, key, pieces(b"x"), max_bytes=10)


@pytest.mark.parametrize("size", [1000, 18 * MIB])
async def test_nothing_remains_of_what_was_too_large_broken_off_or_cancelled(objects, caller, size) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        async for piece in pieces(os.urandom(size)):
            yield piece
        raise ConnectionResetError

    async def hangs() -> AsyncIterator[bytes]:
        async for piece in pieces(os.urandom(size)):
            yield piece
        await anyio.sleep(60)

    with pytest.raises(TooLarge):
        await objects.put(caller, "k", pieces(os.urandom(size)), max_bytes=size - 1)
    with pytest.raises(ConnectionResetError):
        await objects.put(caller, "k", breaks(), max_bytes=size)
    with anyio.move_on_after(1.0) as scope:
        await objects.put(caller, "k", hangs(), max_bytes=size)
    assert scope.cancelled_caught
    assert await objects.stat(caller, "k") is None
    await assert_no_remains(objects)


async def assert_no_remains(objects: Objects) -> None:
    if isinstance(objects, FolderObjects):
        assert [path for path in objects._root.rglob("*") if path.is_file()] == []
    elif isinstance(objects, S3Objects):
        # What was cancelled is taken back in a thread that the scope does not wait for.
        with anyio.fail_after(10):
            while "Uploads" in objects._client.list_multipart_uploads(Bucket=objects._bucket):
                await anyio.sleep(0.05)


async def test_ten_puts_of_one_key_at_once_leave_one_of_them_whole(objects, caller) -> None:
    contents = [os.urandom(400_000) for _ in range(10)]
    async with anyio.create_task_group() as group:
        for content in contents:
            group.start_soon(lambda content=content: objects.put(caller, "k", pieces(content), max_bytes=MIB))
    assert await read(objects, caller, "k") in contents


async def test_a_store_that_answers_passes_its_check(objects) -> None:
    await objects.check()
    await objects.sweep()


async def test_an_s3_that_is_away_is_unavailable(caller) -> None:
    store = s3_objects("http://127.0.0.1:9", "bucket")
    with pytest.raises(Unavailable):
        await store.check()


async def test_a_presigned_url_of_s3_takes_the_object(s3_url, caller) -> None:
    store = s3_objects(s3_url, "presigned")
    store._client.create_bucket(Bucket="presigned")
    put = await store.presign_put(caller, "documents/doc_1/original", size_bytes=5, expires_s=60)
    assert "content-length" in urllib.parse.unquote(put.url), "the size is signed"
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.put(put.url, content=b"hello", headers=put.headers)
    assert answer.status_code == 200
    assert await read(store, caller, "documents/doc_1/original") == b"hello"


def test_an_upload_token_holds_only_as_signed() -> None:
    now = datetime.now(UTC)
    old, new = UploadTokens([SECRET]), UploadTokens([b"x" * 32, SECRET])
    grant = UploadGrant("ten_1", "documents/doc_1/original", 5, int(now.timestamp()) + 60)
    token = old.sign(grant)
    assert new.verify(token, now) == grant, "a rotated secret still verifies"
    payload, _, signature = token.partition(".")
    forged = UploadTokens([b"y" * 32]).sign(grant)
    for bad in (forged, payload, f"{payload}.", f"{forged.partition('.')[0]}a.{signature}", "", ".", "ü.ü"):
        with pytest.raises(Forbidden):
            new.verify(bad, now)
    with pytest.raises(Forbidden):
        new.verify(token, now + timedelta(seconds=61))


def test_settings_choose_the_store(tmp_path) -> None:
    def opened(url: str | None) -> Objects:
        return open_objects(Settings(home=tmp_path, objects_url=url), tmp_path, [SECRET], "http://stand")

    assert isinstance(opened(None), FolderObjects)
    assert isinstance(opened(f"file://{tmp_path}/elsewhere"), FolderObjects)
    for wrong in ("ftp://x/y", "file://host/x", "s3://", "folder"):
        with pytest.raises(Misconfigured):
            opened(wrong)


async def test_a_full_disk_is_said_and_leaves_nothing(caller, tmp_path) -> None:
    """A limit on the size of files stands in for a full device: both end a write in the middle."""
    store = folder_objects(tmp_path / "objects")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
    try:
        with pytest.raises(StorageFull):
            await store.put(caller, "k", pieces(os.urandom(2 * MIB)), max_bytes=4 * MIB)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    await assert_no_remains(store)
    await store.put(caller, "k", pieces(os.urandom(2 * MIB)), max_bytes=4 * MIB)


_WRITER = """
import asyncio, sys
from pathlib import Path
from slipway.base.callers import Caller
from slipway.runtime.objects.folder import FolderObjects
from slipway.runtime.objects.upload_tokens import UploadGrant, UploadTokens
async def content():
    while True:
        yield b"x" * 300_000
        print("wrote", flush=True)
        await asyncio.sleep(0.01)
store = FolderObjects(Path(sys.argv[1]), tokens=UploadTokens([b"s" * 32]), upload_url="http://stand")
asyncio.run(store.put(Caller("ten_1", "usr_1", frozenset()), "k", content(), max_bytes=10**9))
"""


async def test_a_killed_writer_leaves_no_half_object_and_its_remains_are_swept(tmp_path) -> None:
    root = tmp_path / "objects"
    store, owner = folder_objects(root), Caller("ten_1", "usr_1", frozenset())

    def age() -> list[Path]:
        temporary = list((root / ".incoming").iterdir())
        for path in temporary:
            os.utime(path, (time.time() - 3600,) * 2)
        return temporary

    with subprocess.Popen([sys.executable, "-c", _WRITER, str(root)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(3):
            writer.stdout.readline()
        age()
        await store.sweep()
        assert len(age()) == 1, "a living writer is left alone"
        writer.kill()
    assert await store.stat(owner, "k") is None
    assert len(age()) == 1
    await store.sweep()
    assert list((root / ".incoming").iterdir()) == []
