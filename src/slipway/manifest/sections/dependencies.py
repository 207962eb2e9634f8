"""`dependencies`: what others run and the platform calls, like a managed MongoDB."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from slipway.manifest.sections.addresses import ip_range
from slipway.manifest.sections.models import SecretVariable
from slipway.manifest.sections.section import Section


class Dependency(Section):
    """One system outside. Who needs it by its name gets the way out to its port, and the secret; nobody else does."""

    kind: Literal["mongodb", "postgres", "mysql", "redis", "http", "other"] = Field(description="What it speaks.")
    port: int = Field(ge=1, le=65535, description="The port that is called, 27017 for MongoDB.")
    secret: SecretVariable = Field(
        description="The NAME of the variable with what it takes to call it: a URL with credentials, or an API key. A "
        "secret of that name is made, for somebody to fill."
    )
    cidrs: tuple[Annotated[str, AfterValidator(ip_range)], ...] = Field(
        default=(), description="The addresses that it has, like 192.0.2.0/24; left out, any."
    )
    health: Literal["tcp", "http", "none"] = Field(
        default="tcp",
        description="How it is asked whether it is well: tcp connects to it, http expects 200 of its URL, none does "
        "not ask.",
    )
