"""What every section of the manifest shares: frozen, no unknown key, no silent change of type."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """One mapping of the manifest. Strict: `"5"` is no number and `1` is no truth value."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


NAME_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
NEED_PATTERN = r"^[a-z][a-z0-9]*([_-][a-z0-9]+)*$"
ATTRIBUTE_PATTERN = r"^[a-z][a-z0-9_]{0,99}$"
KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"
CLAIM_PATTERN = r"^[A-Za-z][A-Za-z0-9_.:/-]*$"
TAG_PATTERN = r"^[A-Za-z0-9 _.:/=+@-]{1,128}$"
REGION_PATTERN = r"^[a-z]{2}(-[a-z]+)+-[0-9]$"
API_VERSION_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?$"
ROUTE_PATTERN = r"^/([A-Za-z0-9._~-]+/)*([A-Za-z0-9._~-]+|\*)?$"
BUCKET_PATTERN = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
PREFIX_PATTERN = r"^([A-Za-z0-9_-][A-Za-z0-9._-]*/)+$"
VPC_PATTERN = r"^vpc-[0-9a-f]{8,17}$"
FOLDER_PATTERN = r"^/[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"
PROBE_PATTERN = r"^/[A-Za-z0-9._~/-]*$"
VARIABLE_PATTERN = r"^[A-Z][A-Z0-9_]{0,79}$"
ACCOUNT_PATTERN = r"^[0-9]{12}$"
REPOSITORY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$"
BRANCH_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$"
POLICY_PATTERN = r"^[A-Za-z0-9+=,.@_-]{1,128}$"
OIDC_PROVIDER_PATTERN = r"^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider/[A-Za-z0-9./_-]+$"
CERTIFICATE_PATTERN = r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[0-9a-f-]+$"
DOMAIN_PATTERN = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$"
ZONE_ID_PATTERN = r"^Z[A-Z0-9]{6,31}$"
ORIGIN_PATTERN = r"^(https://[A-Za-z0-9.-]+|http://(localhost|127\.0\.0\.1))(:[0-9]{1,5})?$"
DOMAIN_PREFIX_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
INSTANCE_PATTERN = r"^[a-z][a-z0-9-]*\.[a-z0-9]+$"
KUBERNETES_PATTERN = r"^1\.[0-9]{2}$"
CACHE_NODE_PATTERN = r"^cache\.[a-z][a-z0-9]*\.[a-z0-9]+$"
DB_INSTANCE_PATTERN = r"^db\.[a-z][a-z0-9]*\.[a-z0-9]+$"
SEARCH_INSTANCE_PATTERN = r"^[a-z][a-z0-9]*\.[a-z0-9]+\.search$"
# What a person is told instead of the expression.
FORMS: Mapping[str, str] = {
    NAME_PATTERN: "lower-case words joined by dashes, like my-platform",
    NEED_PATTERN: "lower-case words joined by dashes or underscores, like usage_plans",
    ATTRIBUTE_PATTERN: "the name of an attribute in lower case, like created_at",
    KEY_PATTERN: "letters, digits and . _ : / @ -, beginning with a letter or digit",
    CLAIM_PATTERN: "the name of a claim, like merchant_id",
    TAG_PATTERN: "1 to 128 letters, digits, spaces and _ . : / = + @ -",
    REGION_PATTERN: "an AWS region, like us-east-1",
    API_VERSION_PATTERN: "a day, like 2024-10-21 or 2025-04-01-preview",
    ROUTE_PATTERN: "a path, like /api/* or /hooks",
    BUCKET_PATTERN: "the name of a bucket, 3 to 63 lower-case letters, digits, dots and dashes",
    PREFIX_PATTERN: "a folder of a bucket that ends in a slash, like knowledge-base/",
    VPC_PATTERN: "the id of a VPC, like vpc-0123456789abcdef0",
    FOLDER_PATTERN: "a folder in the container, like /data",
    PROBE_PATTERN: "a path, like /health",
    VARIABLE_PATTERN: "the name of a variable, like WEBHOOK_URL",
    ACCOUNT_PATTERN: 'the 12 digits of an AWS account in quotes, like "123456789012"',
    REPOSITORY_PATTERN: "owner and name of a repository, like acme/platform",
    BRANCH_PATTERN: "the name of a branch, like main",
    POLICY_PATTERN: "the name of a policy of the account, like DeveloperBoundary",
    OIDC_PROVIDER_PATTERN: "the ARN of an OpenID provider, like "
    "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com",
    CERTIFICATE_PATTERN: "the ARN of a certificate, like arn:aws:acm:us-east-1:123456789012:certificate/0a1b…",
    DOMAIN_PATTERN: "a domain in lower case, like ai.example.com",
    ZONE_ID_PATTERN: "the id of a hosted zone, like Z0123456789ABCDEFGHIJ",
    ORIGIN_PATTERN: "an https origin without a path, like https://app.example.com, or http of "
    "localhost; `*` would let every site in",
    DOMAIN_PREFIX_PATTERN: "lower-case letters, digits and dashes, at most 63",
    INSTANCE_PATTERN: "a type of instance, like t3.medium",
    KUBERNETES_PATTERN: 'a version of Kubernetes in quotes, like "1.35"',
    CACHE_NODE_PATTERN: "a type of cache node, like cache.t4g.small",
    DB_INSTANCE_PATTERN: "a type of database instance, like db.t4g.medium",
    SEARCH_INSTANCE_PATTERN: "a type of OpenSearch instance, like t3.small.search",
}
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=40)]
NeedName = Annotated[str, Field(pattern=NEED_PATTERN, max_length=100)]
Key = Annotated[str, Field(pattern=KEY_PATTERN, max_length=128)]
Instance = Annotated[str, Field(pattern=INSTANCE_PATTERN, max_length=40)]
