"""`services`: the user's own containers, beside the catalog's components."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import Name, Section


def _checked_image(image: str) -> str:
    if image.startswith(("./", "../")) or image == "." or "@sha256:" in image:
        return image
    raise PydanticCustomError(
        "image",
        "{image} can change under its name: write a folder to build (./backend) or an image by digest (name@sha256:…)",
        {"image": image},
    )


Image = Annotated[
    str,
    Field(pattern=r"^(\.\.?(/.*)?|[^@\s]+@sha256:[0-9a-f]{64}|[^@\s]+)$", max_length=500),
    AfterValidator(_checked_image),
]


class Service(Section):
    """One container of the user's."""

    image: Image = Field(description="A folder to build (./backend), or an image by digest (name@sha256:…).")
    port: int = Field(ge=1, le=65535, description="The port that the container listens on.")
    route: str | None = Field(
        default=None,
        pattern=r"^/([A-Za-z0-9._~-]+/)*([A-Za-z0-9._~-]+|\*)?$",
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
