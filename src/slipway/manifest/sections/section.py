"""What every section of the manifest shares: frozen, no unknown key, no silent change of type."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """One mapping of the manifest. Strict: `"5"` is no number and `1` is no truth value."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


NAME_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"
CLAIM_PATTERN = r"^[A-Za-z][A-Za-z0-9_.:/-]*$"
TAG_PATTERN = r"^[A-Za-z0-9 _.:/=+@-]{1,128}$"
REGION_PATTERN = r"^[a-z]{2}(-[a-z]+)+-[0-9]$"
API_VERSION_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?$"
ROUTE_PATTERN = r"^/([A-Za-z0-9._~-]+/)*([A-Za-z0-9._~-]+|\*)?$"
BUCKET_PATTERN = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
VPC_PATTERN = r"^vpc-[0-9a-f]{8,17}$"
# What a person is told instead of the expression.
FORMS: Mapping[str, str] = {
    NAME_PATTERN: "lower-case words joined by dashes, like my-platform",
    KEY_PATTERN: "letters, digits and . _ : / @ -, beginning with a letter or digit",
    CLAIM_PATTERN: "the name of a claim, like merchant_id",
    TAG_PATTERN: "1 to 128 letters, digits, spaces and _ . : / = + @ -",
    REGION_PATTERN: "an AWS region, like us-east-1",
    API_VERSION_PATTERN: "a day, like 2024-10-21 or 2025-04-01-preview",
    ROUTE_PATTERN: "a path, like /api/* or /hooks",
    BUCKET_PATTERN: "the name of a bucket, 3 to 63 lower-case letters, digits, dots and dashes",
    VPC_PATTERN: "the id of a VPC, like vpc-0123456789abcdef0",
}
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=40)]
Key = Annotated[str, Field(pattern=KEY_PATTERN, max_length=128)]
