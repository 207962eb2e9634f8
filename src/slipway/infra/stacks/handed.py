"""What the stacks before the platform hand over to it, as far as it needs to know them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aws_cdk import Aws

from slipway.infra.constructs.schedule import DatabaseCluster
from slipway.infra.constructs.stores import Stores
from slipway.infra.site import Site

NO_WAY_IN: Final = "http://localhost"  # stands for the address of what no route leads to


class Ground(Protocol):
    """What tasks stand on: the foundation's network."""

    @property
    def vpc_id(self) -> str:
        """The VPC."""

    @property
    def private_subnet_ids(self) -> Sequence[str]:
        """Subnets of tasks, one a zone."""

    @property
    def namespace_id(self) -> str:
        """Where parts find each other."""

    def security_group(self, name: str) -> str:
        """The id of the group of a workload, or of instances."""


class Entrance(Protocol):
    """The load balancer, made here or shared."""

    @property
    def full_name(self) -> str:
        """As metrics name it."""

    @property
    def dns_name(self) -> str:
        """Where it answers."""

    @property
    def listener_arn(self) -> str:
        """The listener of public routes."""

    @property
    def internal_listener_arn(self) -> str | None:
        """The listener of internal routes, when there are any."""

    @property
    def internal_full_name(self) -> str | None:
        """Its load balancer, as metrics name it."""


class SignIn(Protocol):
    """Who issues tokens, when it is not the built-in issuer."""

    @property
    def issuer(self) -> str | None:
        """As tokens name it."""

    @property
    def audiences(self) -> tuple[str, ...]:
        """For whom its tokens are."""


class Identified(Protocol):
    """A cluster of databases."""

    @property
    def identifier(self) -> str:
        """Its name."""


class Databases(Protocol):
    """The clusters of databases that there are."""

    @property
    def aurora(self) -> Identified | None:
        """PostgreSQL."""

    @property
    def neptune(self) -> Identified | None:
        """The graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What the stacks before this one hand over. `public_url` is where users reach the platform."""

    ground: Ground
    stores: Stores
    entrance: Entrance | None
    public_url: str = NO_WAY_IN
    sign_in: SignIn | None = None
    databases: tuple[DatabaseCluster, ...] = ()


class WayIn(Protocol):
    """What stands before the load balancer."""

    @property
    def api_url(self) -> str:
        """Where the platform answers."""


def public_url_of(edge: WayIn | None, entrance: Entrance | None) -> str:
    """Where users reach the platform: its domain, API Gateway's own name without one, else the load balancer."""
    if edge is not None:
        return edge.api_url
    return NO_WAY_IN if entrance is None else f"http://{entrance.dns_name}"


def rests(site: Site) -> bool:
    """Whether there are databases that rest at times."""
    data = site.manifest.data
    own = data.postgres is not None and data.postgres.engine == "aurora" and not data.postgres.copy_to_recovery_region
    return site.manifest.schedule is not None and (own or data.graph == "neptune")


def databases_of(site: Site, data: Databases) -> tuple[DatabaseCluster, ...]:
    """The clusters that can rest. One that is copied to another region all the time cannot: RDS refuses to stop it."""
    found: list[DatabaseCluster] = []
    postgres = site.manifest.data.postgres
    if data.aurora is not None and postgres is not None and not postgres.copy_to_recovery_region:
        found.append(_database("postgres", "rds", data.aurora.identifier))
    if data.neptune is not None:
        found.append(_database("neptune", "neptune", data.neptune.identifier))
    return tuple(found)


def _database(name: str, service: str, identifier: str) -> DatabaseCluster:
    arn = f"arn:{Aws.PARTITION}:rds:{Aws.REGION}:{Aws.ACCOUNT_ID}:cluster:{identifier}"
    return DatabaseCluster(name=name, service=service, identifier=identifier, arn=arn)
