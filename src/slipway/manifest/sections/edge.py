"""`edge`: what stands between the internet and the platform."""

from pydantic import Field

from slipway.manifest.sections.section import Section


class Throttle(Section):
    """Requests that the API's front door lets through, over all clients."""

    rate: int = Field(default=1000, ge=1, description="Requests per second.")
    burst: int = Field(default=2000, ge=1, description="Requests above the rate at once.")


class Edge(Section):
    """The API's front door, its firewall and the content network of the console."""

    api_gateway: bool = Field(default=True, description="Serve the API through API Gateway (usage plans, validation).")
    waf: bool = Field(default=False, description="Web application firewall with managed rules.")
    cdn: bool = Field(default=False, description="Serve the console through CloudFront.")
    throttle: Throttle = Field(default=Throttle(), description="Requests let through.")
