"""`services`: the user's own containers, beside the catalog's components."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import ROUTE_PATTERN, Name, Section

_FOLDER = re.compile(r"\.{1,2}(/[^\x00-\x1f]*)?")
_BY_DIGEST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}")


def _checked_image(image: str) -> str:
    if _FOLDER.fullmatch(image) or _BY_DIGEST.fullmatch(image):
        return image
    raise PydanticCustomError(
        "image",
        "{image} can change under its name: write a folder to build (./backend) or an image by digest (name@sha256:…)",
        {"image": image},
    )


Image = Annotated[
    str,
    Field(max_length=500),
    AfterValidator(_checked_image),
]


class Service(Section):
    """One container of the user's."""

    image: Image = Field(description="A folder to build (./backend), or an image by digest (name@sha256:…).")
    port: int = Field(ge=1, le=65535, description="The port that the container listens on.")
    route: str | None = Field(
        default=None,
        pattern=ROUTE_PATTERN,
        description="The path that leads to it, `*` for everything below. Left out, only other parts reach it.",
    )
    exposure: Literal["public", "internal"] = Field(
        default="public", description="Whether the route is served to the internet, or on the internal listener only."
    )
    cpu: Literal[256, 512, 1024, 2048, 4096, 8192, 16384] = Field(
        default=256, description="CPU units; 1024 are one core (the steps of Fargate)."
    )
    memory_mib: int = Field(default=512, ge=512, le=122880, description="Memory in MiB.")
    count: int = Field(default=1, ge=0, le=1000, description="Copies that run.")
    needs: tuple[Name, ...] = Field(
        default=(),
        description="Stores, components and other services that it calls; each gives edge, address and credentials.",
    )
    run: str | None = Field(
        default=None, min_length=1, description="The command that starts it on a laptop, in the image's folder."
    )
