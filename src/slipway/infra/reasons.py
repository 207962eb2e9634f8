"""Reasons for what a rule would refuse, written beside the resource and pinned to one statement or rule.

They stand in the template's metadata, so that whoever reads it sees them, and `checks` accepts a finding only with one.
"""

from collections.abc import Mapping
from typing import Any, Final

from aws_cdk import CfnResource

METADATA: Final = "slipway:reasons"


def accept(resource: CfnResource, reasons: Mapping[str, str]) -> None:
    """Accepts findings about `resource`: a reason by the statement's Sid or the rule's name (`AwsSolutions-S1`)."""
    present: Any = resource.get_metadata(METADATA) or {}
    resource.add_metadata(METADATA, {**present, **reasons})


def reasons_of(resource: Mapping[str, Any]) -> Mapping[str, str]:
    """The reasons beside a resource of a template, by Sid or rule."""
    found: Mapping[str, str] = resource.get("Metadata", {}).get(METADATA, {})
    return found
