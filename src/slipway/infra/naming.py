"""What things are called: stacks, parameters, log groups, and the tags that everything carries."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from slipway.base.errors import InvalidRequest
from slipway.infra.inputs import Inputs
from slipway.manifest.schema import Manifest

MANAGED_BY = "slipway"


@dataclass(frozen=True, slots=True)
class Names:
    """Names within one environment of one platform.

    `environment` is that of the manifest, with the pull request's number behind it for a preview.
    """

    platform: str
    environment: str

    @property
    def prefix(self) -> str:
        """What the names of stacks, clusters and the like begin with: `rag-assistant-prod`."""
        return f"{self.platform}-{self.environment}"

    def stack(self, part: str) -> str:
        """The name of a stack."""
        return f"{self.prefix}-{part}"

    def parameter(self, *path: str) -> str:
        """The name of a parameter or secret: `/slipway/<environment>/<platform>/…`."""
        return "/".join(("/slipway", self.environment, self.platform, *path))

    def log_group(self, *path: str) -> str:
        """The name of a log group, beside the parameters of the same part."""
        return self.parameter("logs", *path)

    @property
    def namespace(self) -> str:
        """The private DNS name under which parts find each other."""
        return f"{self.prefix}.local"

    @staticmethod
    def construct(name: str) -> str:
        """A construct's id from a name of the manifest: `usage_plans` and `usage-plans` are `UsagePlans`."""
        return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", name))


def names_of(manifest: Manifest, environment: str, inputs: Inputs) -> Names:
    """The names of an environment; raises InvalidRequest when a template has no pull request, or the reverse."""
    if manifest.template and inputs.pull_request is None:
        raise InvalidRequest(f"{environment} is a template of many environments: say which pull request's is meant.")
    if not manifest.template and inputs.pull_request is not None:
        raise InvalidRequest(f"{environment} is one environment, not one for each pull request: leave the number out.")
    suffix = "" if inputs.pull_request is None else f"-{inputs.pull_request}"
    return Names(manifest.name, f"{environment}{suffix}")


def tags_of(manifest: Manifest, names: Names, inputs: Inputs) -> Mapping[str, str]:
    """The tags of every resource, sorted: the manifest's, and those that only Slipway knows, which win."""
    tags = {"Project": manifest.name, "Owner": "unknown", "CostCenter": "unknown", **manifest.tags}
    tags |= {"Environment": names.environment, "ManagedBy": MANAGED_BY}
    if inputs.pull_request is not None:
        tags["PRNumber"] = str(inputs.pull_request)
        tags["Branch"] = re.sub(r"[^\w .:/=+@-]", "-", inputs.branch or "unknown")[:256]
        tags["ExpiryDate"] = "unknown" if inputs.expires is None else inputs.expires.isoformat()
    return dict(sorted(tags.items()))
