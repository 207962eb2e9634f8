"""A finding of a gate: what is wrong with one resource, and the reason that accepts it if there is one.

Made by `checks` and `policies`; a plan with a finding that is an error and has no reason is refused.
"""

from dataclasses import dataclass
from typing import Literal

Gate = Literal["cfn-lint", "cdk-nag", "slipway"]
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Finding:
    """One rule over one resource. `accepted` is the reason that stands beside the resource."""

    stack: str
    resource: str
    rule: str
    message: str
    gate: Gate
    severity: Severity = "error"
    accepted: str = ""

    @property
    def refused(self) -> bool:
        """Whether it stops a deploy."""
        return self.severity == "error" and not self.accepted

    @property
    def place(self) -> str:
        """`stack/resource`."""
        return f"{self.stack}/{self.resource}"
