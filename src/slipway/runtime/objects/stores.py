"""Chooses the object store that settings name: a folder (the home's by default) or S3."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from slipway.base.errors import Misconfigured
from slipway.runtime.objects import Objects
from slipway.runtime.objects.folder import FolderObjects
from slipway.runtime.objects.upload_tokens import UploadTokens
from slipway.runtime.settings import Settings


def open_objects(settings: Settings, home: Path, secrets: Sequence[bytes], url: str) -> Objects:
    """The store of `objects_url`; reaches no network yet. Raises Misconfigured for a URL that is neither kind."""
    address = settings.objects_url or (home.absolute() / "objects").as_uri()
    parts = urlsplit(address)
    if parts.scheme == "file" and parts.path:
        return FolderObjects(Path(unquote(parts.path)), tokens=UploadTokens(secrets), upload_url=url)
    if parts.scheme == "s3" and parts.netloc:
        from slipway.runtime.objects.s3 import S3Objects  # boto3 takes 0.3 s to import and a laptop does not need it

        return S3Objects.open(parts.netloc, parts.path, endpoint_url=settings.s3_endpoint_url)
    raise Misconfigured(f"SLIPWAY_OBJECTS_URL is {address!r}: write file:///folder or s3://bucket/prefix.")
