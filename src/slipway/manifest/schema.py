"""The manifest as a whole: one frozen model, as it is after an environment has been merged in.

Made by `loading` alone; everything else of Slipway reads it. `slipway`, `name` and `environments` are the
keys that no environment may override.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from slipway.manifest.catalog import CATALOG, start_order
from slipway.manifest.sections.agents import Agents, KnowledgeBase, Workflows
from slipway.manifest.sections.budget import Budget
from slipway.manifest.sections.capacity import Bastion, Capacity
from slipway.manifest.sections.components import ComponentSettings
from slipway.manifest.sections.data import Data
from slipway.manifest.sections.dependencies import Dependency
from slipway.manifest.sections.edge import Edge
from slipway.manifest.sections.governance import Audit, Delivery
from slipway.manifest.sections.identity import Identity
from slipway.manifest.sections.models import Models
from slipway.manifest.sections.monitoring import Monitoring
from slipway.manifest.sections.network import Network
from slipway.manifest.sections.placement import Schedule
from slipway.manifest.sections.plans import Plan
from slipway.manifest.sections.recovery import Recovery, Region
from slipway.manifest.sections.section import CLAIM_PATTERN, TAG_PATTERN, Name, Section
from slipway.manifest.sections.services import Service
from slipway.manifest.units import Duration

VERSION: Final = 1
FIXED_KEYS: Final = ("slipway", "name", "environments")
ENVIRONMENT_ONLY_KEYS: Final = ("template", "ttl", "share")


def _known_version(given: Any) -> Any:
    if given != VERSION or isinstance(given, bool):
        raise PydanticCustomError("version", "this Slipway reads schema version 1: write slipway: 1")
    return given


def _own_tag(key: str) -> str:
    if key.lower().startswith("aws:"):
        raise PydanticCustomError("tag", "tags that begin with aws: belong to AWS: write another name")
    return key


def _in_catalog(name: str) -> str:
    if name in CATALOG:
        return name
    near = next(iter(get_close_matches(name, CATALOG, n=1)), None)
    meant = f"did you mean `{near}`?" if near else f"the catalog has {', '.join(CATALOG)}."
    raise PydanticCustomError(
        "component",
        "there is no component `{name}`: {meant} A container of your own stands under `services`",
        {"name": name, "meant": meant},
    )


ComponentName = Annotated[str, AfterValidator(_in_catalog)]
TagKey = Annotated[str, Field(pattern=TAG_PATTERN), AfterValidator(_own_tag)]
TagValue = Annotated[str, Field(max_length=256)]


class Manifest(Section):
    """What the platform is, in one environment."""

    slipway: Annotated[Literal[1], BeforeValidator(_known_version)] = Field(description="Version of this schema.")
    name: Name = Field(description="Name of the platform: lower-case words joined by dashes, at most 40 characters.")
    tenant_claim: str = Field(
        default="tenant",
        pattern=CLAIM_PATTERN,
        description="The claim of a token that carries the tenant.",
    )
    components: Mapping[ComponentName, ComponentSettings] | None = Field(
        default=None,
        description="Parts of the catalog that run; what they need runs with them. Left out, all of them run.",
    )
    services: Mapping[Name, Service] = Field(default={}, description="Containers of yours, beside the components.")
    dependencies: Mapping[Name, Dependency] = Field(
        default={}, description="Systems outside that the platform calls, like a managed MongoDB."
    )
    models: Models = Field(default=Models(), description="Models and who serves them.")
    plans: Mapping[Name, Plan] = Field(default={}, description="Usage plans: who may spend what.")
    features: Mapping[Name, bool] = Field(
        default={}, description="Feature flags, which can be turned while the platform runs (AppConfig on AWS)."
    )
    agents: Agents = Field(default=Agents(), description="Managed agents and knowledge bases.")
    workflows: Workflows = Field(default=Workflows(), description="Document processing and retraining.")
    data: Data = Field(default=Data(), description="Stores behind the components.")
    network: Network = Field(default=Network(), description="The VPC.")
    compute: Literal["fargate", "ec2", "eks"] = Field(default="fargate", description="What runs the containers on AWS.")
    capacity: Capacity = Field(default=Capacity(), description="Instances, where containers run on them.")
    bastion: Bastion | None = Field(default=None, description="An instance for operators.")
    edge: Edge = Field(default=Edge(), description="Between the internet and the platform.")
    identity: Identity = Field(default=Identity(), description="Who may sign in.")
    monitoring: Monitoring = Field(default=Monitoring(), description="What is watched, and when somebody is told.")
    recovery: Recovery = Field(default=Recovery(), description="Backups, second region, objectives.")
    audit: Audit = Field(default=Audit(), description="Who did what on AWS.")
    delivery: Delivery = Field(default=Delivery(), description="Who may deploy, and how.")
    budget: Budget = Field(default=Budget(), description="Monthly budget of the infrastructure.")
    tags: Mapping[TagKey, TagValue] = Field(default={}, description="Tags on every resource.")
    region: Region | None = Field(default=None, description="AWS region; left out, whoever deploys must name one.")
    schedule: Schedule | None = Field(default=None, description="When it is stopped and started.")
    template: bool = Field(
        default=False, description="In an environment only: a pattern for many short-lived ones, one per pull request."
    )
    ttl: Duration | None = Field(
        default=None, description="In an environment only: how long it lives after its last deploy."
    )
    share: Name | None = Field(
        default=None, description="In an environment only: another one whose network and load balancer it uses."
    )

    @property
    def knowledge_base(self) -> KnowledgeBase | None:
        """The knowledge base: the declared one, or that of `search: bedrock-kb` as it is by default."""
        declared = self.agents.knowledge_base
        return KnowledgeBase() if declared is None and self.data.search == "bedrock-kb" else declared

    def component_order(self) -> tuple[str, ...]:
        """The components that run, each after what it needs: those declared and their needs, or the whole catalog."""
        return start_order(CATALOG if self.components is None else self.components)

    def component(self, name: str) -> ComponentSettings:
        """The settings of a component that runs, with the catalog's size where the manifest states none."""
        settings = (self.components or {}).get(name, ComponentSettings())
        if settings.size is not None:
            return settings
        return settings.model_copy(update={"size": CATALOG[name].default_size})
