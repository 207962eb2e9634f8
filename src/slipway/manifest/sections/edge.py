"""`edge`: what stands between the internet and the platform."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from slipway.manifest.sections.section import (
    CERTIFICATE_PATTERN,
    DOMAIN_PATTERN,
    ORIGIN_PATTERN,
    ZONE_ID_PATTERN,
    Section,
)

_CLOUDFRONT_REGION = "us-east-1"


class Throttle(Section):
    """Requests that the API's front door lets through, over all clients."""

    rate: int = Field(default=1000, ge=1, description="Requests per second.")
    burst: int = Field(default=2000, ge=1, description="Requests above the rate at once.")


class Domain(Section):
    """A domain in a hosted zone that exists."""

    name: str = Field(pattern=DOMAIN_PATTERN, max_length=200, description="Where the API answers, like ai.example.com.")
    zone_id: str = Field(pattern=ZONE_ID_PATTERN, description="The hosted zone of Route 53 that holds it.")
    console: str | None = Field(
        default=None,
        pattern=DOMAIN_PATTERN,
        max_length=200,
        description="Where the console answers (with `cdn`); left out, `console.` before the name.",
    )
    certificate: str | None = Field(
        default=None,
        pattern=CERTIFICATE_PATTERN,
        description="A certificate that exists, in the environment's region; left out, one is made and renews itself.",
    )
    cdn_certificate: str | None = Field(
        default=None,
        pattern=CERTIFICATE_PATTERN,
        description="One for the console, in us-east-1, where CloudFront looks for it; left out, one is made.",
    )

    @property
    def console_name(self) -> str:
        """Where the console answers."""
        return self.console or f"console.{self.name}"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.console_name == self.name:
            raise PydanticCustomError(
                "domain", "the API and the console cannot answer at one name: write another console"
            )
        if self.cdn_certificate is not None and self.cdn_certificate.split(":")[3] != _CLOUDFRONT_REGION:
            raise PydanticCustomError("domain", "cdn_certificate is not in us-east-1, where CloudFront looks for it")
        return self


class Edge(Section):
    """The API's front door, its firewall and the content network of the console."""

    api_gateway: bool = Field(default=True, description="Serve the API through API Gateway (usage plans, validation).")
    waf: bool = Field(default=False, description="Web application firewall with managed rules.")
    waf_rate: int = Field(
        default=2000, ge=10, le=2_000_000_000, description="Requests of one address in five minutes; more are blocked."
    )
    cdn: bool = Field(default=False, description="Serve the console through CloudFront.")
    throttle: Throttle = Field(default=Throttle(), description="Requests let through.")
    domain: Domain | None = Field(default=None, description="A domain of yours; left out, AWS's own names serve.")
    tls: Literal["1.3", "1.2"] = Field(
        default="1.3", description="The oldest TLS that a listener speaks, where the service leaves the choice."
    )
    cors: tuple[Annotated[str, Field(pattern=ORIGIN_PATTERN, max_length=200)], ...] = Field(
        default=(), description="Origins whose pages may call the API; the console's own is always one."
    )
    access_logs: bool = Field(default=True, description="Log each request at the API's front door and load balancer.")

    @property
    def origins(self) -> tuple[str, ...]:
        """Pages that may call the API: those of `cors`, and the console where it has a name of its own."""
        console = (f"https://{self.domain.console_name}",) if self.cdn and self.domain else ()
        return tuple(dict.fromkeys((*console, *self.cors)))
