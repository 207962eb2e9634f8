"""What a template takes besides the manifest: digests, dates, zones. Nothing here is read from the clock or an account.

The same manifest and the same inputs give the same bytes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from slipway.base.errors import InvalidRequest

NOT_BUILT: Final = f"sha256:{'0' * 64}"  # stands in a plan that is made before the image is built
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ZONE: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-\d[a-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Values of one deployment.

    `image_digest` is that of the platform's image, `service_digests` those of the services that are built from a
    folder. `zones` are names of availability zones; left out, the region's first ones are taken. A preview has the
    number and branch of its pull request and the day on which it expires. Raises InvalidRequest for what is none.
    """

    image_digest: str = NOT_BUILT
    service_digests: Mapping[str, str] = field(default_factory=dict)
    zones: tuple[str, ...] = ()
    pull_request: int | None = None
    branch: str | None = None
    expires: date | None = None

    def __post_init__(self) -> None:
        for digest in (self.image_digest, *self.service_digests.values()):
            if not _DIGEST.fullmatch(digest):
                raise InvalidRequest(f"{digest!r} is no digest of an image: write sha256: and 64 hexadecimal digits.")
        for zone in self.zones:
            if not _ZONE.fullmatch(zone):
                raise InvalidRequest(f"{zone!r} is no availability zone: write one like us-east-1a.")
        if self.pull_request is not None and self.pull_request < 1:
            raise InvalidRequest(f"{self.pull_request} is no number of a pull request: write 1 or more.")

    def digest_of(self, service: str) -> str:
        """The digest of a service that is built from a folder."""
        return self.service_digests.get(service, NOT_BUILT)
