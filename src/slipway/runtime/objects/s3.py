"""Objects in S3 or anything that speaks its protocol. boto3 blocks, so each call runs in a thread.

S3 shows an object only once it is complete; what a crash can leave is an unfinished multipart upload, which nobody can
read. `put` aborts its own on failure, and a lifecycle rule of the bucket ends those of a killed process.
"""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from slipway.base.callers import Caller
from slipway.base.errors import NotFound, SlipwayError, StorageFull, TooLarge, Unavailable, UpstreamFailed
from slipway.runtime.objects import PresignedPut, StoredObject
from slipway.runtime.objects.keys import tenant_key

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

_PART_BYTES: Final = 8 * 2**20  # S3 takes parts of 5 MiB or more, 10,000 of them at most
_READ_BYTES: Final = 256 * 1024
_ABSENT: Final = {"404", "NoSuchKey", "NotFound"}

P = ParamSpec("P")
T = TypeVar("T")


class S3Objects:
    """The S3 adapter of `Objects`. Credentials come from where boto3 finds them (on AWS: the task's role)."""

    def __init__(self, client: "S3Client", bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    @classmethod
    def open(cls, bucket: str, prefix: str = "", *, endpoint_url: str | None = None, **options: Any) -> "S3Objects":
        """Reaches no network yet."""
        config = Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"max_attempts": 3, "mode": "standard"},
            max_pool_connections=32,
            signature_version="s3v4",
            s3={"addressing_style": "path" if endpoint_url else "auto"},
        )
        return cls(boto3.client("s3", endpoint_url=endpoint_url, config=config, **options), bucket, prefix)

    async def put(self, caller: Caller, key: str, content: AsyncIterator[bytes], *, max_bytes: int) -> StoredObject:
        """See Objects. Holds one part (8 MiB) in memory at a time."""
        upload = _Upload(self._client, self._bucket, self._key(caller, key))
        try:
            size_bytes, held = 0, bytearray()
            async for piece in content:
                size_bytes += len(piece)
                if size_bytes > max_bytes:
                    raise TooLarge(f"This is larger than the {max_bytes:,} bytes that are taken.")
                held += piece
                while len(held) >= _PART_BYTES:
                    part, held = bytes(held[:_PART_BYTES]), held[_PART_BYTES:]
                    await _in_thread(upload.part, part)
            sha256 = await _in_thread(upload.finish, bytes(held))
        except BaseException:
            # Shielded: a cancelled request still has to take back what it began.
            await asyncio.shield(asyncio.to_thread(upload.abort))
            raise
        return StoredObject(key, size_bytes, sha256)

    async def read(self, caller: Caller, key: str) -> AsyncIterator[bytes]:
        """See Objects."""
        answer = await _in_thread(self._client.get_object, Bucket=self._bucket, Key=self._key(caller, key))
        body = answer["Body"]
        try:
            while piece := await _in_thread(body.read, _READ_BYTES):
                yield piece
        finally:
            body.close()

    async def fetch(self, caller: Caller, key: str, into: Path) -> StoredObject:
        """See Objects."""
        await _in_thread(self._client.download_file, self._bucket, self._key(caller, key), str(into))
        return StoredObject(key, (await _in_thread(into.stat)).st_size, None)

    async def stat(self, caller: Caller, key: str) -> StoredObject | None:
        """See Objects."""
        try:
            head = await _in_thread(self._client.head_object, Bucket=self._bucket, Key=self._key(caller, key))
        except NotFound:
            return None
        return StoredObject(key, head["ContentLength"], None)

    async def delete(self, caller: Caller, key: str) -> None:
        """See Objects."""
        await _in_thread(self._client.delete_object, Bucket=self._bucket, Key=self._key(caller, key))

    async def delete_under(self, caller: Caller, folder: str) -> None:
        """See Objects."""
        await _in_thread(self._delete_under, self._key(caller, folder) + "/")

    def _delete_under(self, prefix: str) -> None:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            if found := page.get("Contents"):
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": [{"Key": item["Key"]} for item in found], "Quiet": True}
                )
                if errors := answer.get("Errors"):
                    raise Unavailable("Not every object could be removed: try again.", detail=str(errors[0]))

    async def presign_put(self, caller: Caller, key: str, *, size_bytes: int, expires_s: int) -> PresignedPut:
        """See Objects. The size is part of the signature, so S3 refuses a body of another length."""
        url = await _in_thread(
            self._client.generate_presigned_url,
            "put_object",
            Params={"Bucket": self._bucket, "Key": self._key(caller, key), "ContentLength": size_bytes},
            ExpiresIn=expires_s,
        )
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=expires_s)
        return PresignedPut(url, {"content-length": str(size_bytes)}, expires_at)

    async def sweep(self) -> None:
        """See Objects: nothing to do here, a lifecycle rule of the bucket ends unfinished uploads."""

    async def check(self) -> None:
        """See Objects."""
        await _in_thread(self._client.head_bucket, Bucket=self._bucket)

    def _key(self, caller: Caller, key: str) -> str:
        return self._prefix + tenant_key(caller, key)


class _Upload:
    """One object on its way: a single request when it is small, parts when it is not.

    Locked, because a cancelled `put` aborts while the thread of its last part may still run.
    """

    def __init__(self, client: "S3Client", bucket: str, key: str) -> None:
        self._client, self._bucket, self._key = client, bucket, key
        self._hash = hashlib.sha256()
        self._id: str | None = None
        self._parts: list[CompletedPartTypeDef] = []
        self._aborted = False
        self._lock = threading.Lock()

    def part(self, data: bytes) -> None:
        with self._lock:
            self._part(data)

    def _part(self, data: bytes) -> None:
        if self._aborted:  # the thread of a part that was cancelled before it had begun
            return
        self._hash.update(data)
        if self._id is None:
            self._id = self._client.create_multipart_upload(Bucket=self._bucket, Key=self._key)["UploadId"]
        number = len(self._parts) + 1
        answer = self._client.upload_part(
            Bucket=self._bucket, Key=self._key, UploadId=self._id, PartNumber=number, Body=data
        )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})

    def finish(self, rest: bytes) -> str:
        """Stores the last bytes, which makes the object appear; returns the SHA-256 of all in hexadecimal."""
        with self._lock:
            if self._aborted:
                return ""
            if self._id is None:
                self._hash.update(rest)
                self._client.put_object(Bucket=self._bucket, Key=self._key, Body=rest)
            else:
                if rest:
                    self._part(rest)
                self._client.complete_multipart_upload(
                    Bucket=self._bucket, Key=self._key, UploadId=self._id, MultipartUpload={"Parts": self._parts}
                )
                self._id = None
            return self._hash.hexdigest()

    def abort(self) -> None:
        """Takes back what was begun; what comes later does nothing any more."""
        with self._lock:
            self._aborted = True
            if self._id is None:
                return
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._id)
            except (BotoCoreError, ClientError):
                return  # the store is away: its lifecycle rule ends the upload


async def _in_thread(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    try:
        return await asyncio.to_thread(function, *arguments, **options)
    except ClientError as error:
        raise _translated(error) from error
    except BotoCoreError as error:
        raise Unavailable("The object store does not answer.", detail=str(error)) from error


def _translated(error: ClientError) -> SlipwayError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _ABSENT:
        return NotFound("There is no such object.", detail=str(error))
    if status == 507 or code in {"QuotaExceeded", "XMinioStorageFull"}:
        return StorageFull("The object store has no room left.", detail=str(error))
    if status >= 500 or code in {"SlowDown", "RequestTimeout", "ThrottlingException"}:
        return Unavailable("The object store does not answer.", detail=str(error))
    return UpstreamFailed("The object store refused the request.", detail=str(error))
