"""`services`: the user's own containers, beside the catalog's components."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.components import Scale
from slipway.manifest.sections.models import SecretVariable
from slipway.manifest.sections.section import (
    FOLDER_PATTERN,
    PROBE_PATTERN,
    ROUTE_PATTERN,
    VARIABLE_PATTERN,
    Name,
    NeedName,
    Section,
)
from slipway.manifest.units import Size

OBJECTS_PREFIX: Final = "services/"  # where they keep objects, apart from the platform's
_FOLDER = re.compile(r"\.{1,2}(/[^\x00-\x1f]*)?")
_BY_DIGEST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}")
# Words at the end of a variable's name that say that its value is a secret.
_SECRET_ENDS: Final = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "_CREDENTIALS", "_DSN")

# A URL with a password, a key of AWS, a private key.
_CREDENTIAL: Final = re.compile(r"://[^/\s:@]*:[^/\s@]+@|\b(AKIA|ASIA)[A-Z0-9]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY")


def _checked_image(image: str) -> str:
    if _FOLDER.fullmatch(image) or _BY_DIGEST.fullmatch(image):
        return image
    raise PydanticCustomError(
        "image",
        "{image} can change under its name: write a folder to build (./backend) or an image by digest (name@sha256:…)",
        {"image": image},
    )


def _no_secret(variable: str) -> str:
    if variable.endswith(_SECRET_ENDS):
        raise PydanticCustomError(
            "variable",
            "{variable} reads like a secret, and what stands here is plain text: write the name under `secrets`",
            {"variable": variable},
        )
    return variable


def _no_credential(value: str) -> str:
    if _CREDENTIAL.search(value):
        raise PydanticCustomError(
            "credential",
            "this carries a credential, and what stands here is plain text: write the variable's name under `secrets`. "
            "Replace the credential where it was made: it has been in a file",
        )
    return value


Image = Annotated[
    str,
    Field(max_length=500),
    AfterValidator(_checked_image),
]
ContainerFolder = Annotated[str, Field(pattern=FOLDER_PATTERN, max_length=200)]
Variable = Annotated[str, Field(pattern=VARIABLE_PATTERN), AfterValidator(_no_secret)]
PlainText = Annotated[str, Field(max_length=4000), AfterValidator(_no_credential)]


class Volume(Section):
    """What a service keeps on a disk.

    `efs`: one file system that all its copies share; it is kept and backed up. `host`: the disk of the
    instance, lost with it; for caches.
    """

    kind: Literal["efs", "host"] = Field(description="efs: shared, kept, backed up. host: the instance's own disk.")
    path: ContainerFolder = Field(description="Where the container finds it, like /data.")
    size: Size | None = Field(
        default=None, description="How much it is expected to hold, for the estimate of costs; it grows by itself."
    )


class Service(Section):
    """One container of the user's. It runs as a user without rights, on a root file system that it cannot write."""

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
    count: int = Field(
        default=1, ge=0, le=1000, description="Copies that run; with `scale`, those that run at first, within it."
    )
    scale: Scale | None = Field(default=None, description="When more copies run; left out, always `count`.")
    spot: bool = Field(
        default=False, description="Run on spare capacity, which AWS takes back at two minutes' notice (Fargate Spot)."
    )
    needs: tuple[NeedName, ...] = Field(
        default=(),
        description="Stores, components, dependencies and other services that it calls; each gives edge, address and "
        "credentials.",
    )
    health: str | None = Field(
        default="/health",
        pattern=PROBE_PATTERN,
        max_length=200,
        description="The path that answers 200 while it is well; null: it is well while its port answers.",
    )
    volume: Volume | None = Field(default=None, description="A disk of its own.")
    environment: Mapping[Variable, PlainText] = Field(
        default={}, description="Variables of the container, in plain text."
    )
    secrets: tuple[SecretVariable, ...] = Field(
        default=(),
        description="NAMES of variables whose values come from Secrets Manager, where a secret of that name is made.",
    )
    discovery: Name | None = Field(
        default=None, description="Its name in the platform's private DNS; left out, the service's own."
    )
    command: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(
        default=(), description="What the container runs; left out, what its image says."
    )
    user: int = Field(default=10001, ge=1, le=65534, description="The user that the container runs as; never root.")
    scratch: tuple[ContainerFolder, ...] = Field(
        default=("/tmp",),  # noqa: S108 - a folder in the container
        description="Folders that it may write and that are empty at each start.",
    )
    run: str | None = Field(
        default=None, min_length=1, description="The command that starts it on a laptop, in the image's folder."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problem = self._misfit()
        if problem:
            raise PydanticCustomError("service", "{problem}", {"problem": problem})
        return self

    def _misfit(self) -> str | None:
        twice = [name for name in self.secrets if name in self.environment]
        if twice:
            return f"{twice[0]} stands under environment and under secrets: remove one"
        scale = self.scale
        if scale is not None and "count" in self.model_fields_set and not scale.min <= self.count <= scale.max:
            return f"count is {self.count}, outside scale {scale.min} to {scale.max}: write one within it"
        if self.volume is not None and self.volume.path in self.scratch:
            return f"{self.volume.path} is the volume and under scratch, empty at each start: remove it from scratch"
        return None

    def bounds(self) -> Scale:
        """How many copies run: `scale`, or always `count`."""
        return self.scale or Scale(min=self.count, max=max(self.count, 1))
