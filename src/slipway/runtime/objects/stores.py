"""Which object store this process uses, from its settings: a folder, or S3."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from slipway.base.errors import Misconfigured
from slipway.runtime.objects import Objects
from slipway.runtime.objects.folder import FolderObjects
from slipway.runtime.objects.upload_tokens import UploadTokens
from slipway.runtime.settings import Settings

UPLOAD_PATH: Final = "/objects"  # where the folder's presigned PUTs arrive, behind the platform's own address


def open_objects(settings: Settings, home: Path, secrets: Sequence[bytes], url: str) -> Objects:
    """The store that `objects_url` names, `objects` in the home without one; reaches nothing yet.

    Raises Misconfigured for an address that is neither `file:///folder` nor `s3://bucket/prefix`.
    """
    if settings.objects_url is None:
        return FolderObjects(home / "objects", tokens=UploadTokens(secrets), upload_url=url.rstrip("/") + UPLOAD_PATH)
    address = urlsplit(settings.objects_url)
    if address.scheme == "s3" and address.netloc:
        from slipway.runtime.objects.s3 import S3Objects  # boto3 takes 9 MB, which a folder does not need

        return S3Objects.open(address.netloc, address.path, endpoint_url=settings.s3_endpoint_url)
    if address.scheme == "file" and not address.netloc and address.path.startswith("/"):
        folder = Path(unquote(address.path))
        return FolderObjects(folder, tokens=UploadTokens(secrets), upload_url=url.rstrip("/") + UPLOAD_PATH)
    raise Misconfigured("SLIPWAY_OBJECTS_URL must be like file:///var/objects or s3://bucket/prefix.")
