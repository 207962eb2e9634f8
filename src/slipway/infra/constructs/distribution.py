"""CloudFront in front of a private bucket: the console's pages, by HTTPS alone.

The bucket answers this one distribution (origin access control) and nobody else. A path that is no file is the page's
own business, so what the bucket does not have is answered with the page.
"""

from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Aws, aws_cloudfront, aws_logs, aws_s3
from constructs import Construct

from slipway.infra.constructs.retention import keep
from slipway.infra.reasons import accept

# Ids that AWS gives to policies of its own (docs.aws.amazon.com/AmazonCloudFront, "Using managed cache policies").
_CACHING_OPTIMIZED: Final = "658327ea-f89d-4fab-a63d-7e88639e58f6"
_OLDEST_TLS: Final = {"1.3": "TLSv1.3_2025", "1.2": "TLSv1.2_2021"}
_YEARS_2_S: Final = 63_072_000  # what browsers' preload lists ask for at least half of
_PAGE: Final = "index.html"
_VERSIONS_DAYS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionProps:
    """`domain` and `certificate_arn` are both there or both not. `connects` are origins that the page may call."""

    comment: str
    connects: tuple[str, ...]
    log_group: str
    log_days: int
    tls: str
    domain: str | None = None
    certificate_arn: str | None = None
    web_acl_arn: str | None = None
    lasting: bool = True


class Distribution(Construct):
    """The distribution, its bucket and its log. `domain_name` is CloudFront's, `url` where people go."""

    def __init__(self, scope: Construct, identifier: str, props: DistributionProps) -> None:
        super().__init__(scope, identifier)
        self._props = props
        self.bucket = self._bucket()
        self._access = aws_cloudfront.CfnOriginAccessControl(
            self,
            "Access",
            origin_access_control_config={
                "name": f"{props.comment}-console",
                "originAccessControlOriginType": "s3",
                "signingBehavior": "always",
                "signingProtocol": "sigv4",
            },
        )
        self._headers = self._security_headers()
        self.resource = self._distribution()
        self.distribution_id = self.resource.ref
        self.domain_name = self.resource.attr_domain_name
        self.url = f"https://{props.domain or self.domain_name}"
        aws_s3.CfnBucketPolicy(
            self, "OnlyTheDistribution", bucket=self.bucket.ref, policy_document=self._readable_by_the_distribution()
        )
        self._log()

    @property
    def arn(self) -> str:
        """The distribution's ARN; CloudFront's resources have no region."""
        return f"arn:{Aws.PARTITION}:cloudfront::{Aws.ACCOUNT_ID}:distribution/{self.distribution_id}"

    def _bucket(self) -> aws_s3.CfnBucket:
        bucket = aws_s3.CfnBucket(
            self,
            "Pages",
            bucket_encryption={
                "serverSideEncryptionConfiguration": [{"serverSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]
            },
            public_access_block_configuration={
                "blockPublicAcls": True,
                "blockPublicPolicy": True,
                "ignorePublicAcls": True,
                "restrictPublicBuckets": True,
            },
            ownership_controls={"rules": [{"objectOwnership": "BucketOwnerEnforced"}]},
            versioning_configuration={"status": "Enabled"},
            lifecycle_configuration={
                "rules": [
                    {
                        "id": "OldVersions",
                        "status": "Enabled",
                        "noncurrentVersionExpiration": {"noncurrentDays": _VERSIONS_DAYS},
                        "abortIncompleteMultipartUpload": {"daysAfterInitiation": 1},
                    }
                ]
            },
        )
        keep(bucket, self._props.lasting)
        accept(bucket, {"AwsSolutions-S1": "CloudFront alone reads it, and logs each request."})
        return bucket

    def _distribution(self) -> aws_cloudfront.CfnDistribution:
        props = self._props
        certificate: dict[str, Any] = {"cloudFrontDefaultCertificate": True}
        if props.certificate_arn is not None:
            certificate = {
                "acmCertificateArn": props.certificate_arn,
                "sslSupportMethod": "sni-only",
                "minimumProtocolVersion": _OLDEST_TLS[props.tls],
            }
        distribution = aws_cloudfront.CfnDistribution(
            self,
            "Distribution",
            distribution_config={
                "enabled": True,
                "comment": props.comment,
                "aliases": [props.domain] if props.domain else None,
                "defaultRootObject": _PAGE,
                "httpVersion": "http2and3",
                "ipv6Enabled": True,
                "priceClass": "PriceClass_100",
                "webAclId": props.web_acl_arn,
                "viewerCertificate": certificate,
                "origins": [
                    {
                        "id": "pages",
                        "domainName": self.bucket.attr_regional_domain_name,
                        "originAccessControlId": self._access.ref,
                        "s3OriginConfig": {"originAccessIdentity": ""},
                    }
                ],
                "defaultCacheBehavior": {
                    "targetOriginId": "pages",
                    "viewerProtocolPolicy": "https-only",
                    "allowedMethods": ["GET", "HEAD"],
                    "cachedMethods": ["GET", "HEAD"],
                    "compress": True,
                    "cachePolicyId": _CACHING_OPTIMIZED,
                    "responseHeadersPolicyId": self._headers.ref,
                },
                # Without the right to list, S3 answers 403 for what is not there.
                "customErrorResponses": [
                    {
                        "errorCode": code,
                        "responseCode": 200,
                        "responsePagePath": f"/{_PAGE}",
                        "errorCachingMinTtl": 0,
                    }
                    for code in (403, 404)
                ],
            },
        )
        accept(distribution, self._reasons())
        return distribution

    def _reasons(self) -> dict[str, str]:
        props = self._props
        reasons = {
            "AwsSolutions-CFR1": "The platform's users are bound to no country.",
            "AwsSolutions-CFR3": "Logs go to CloudWatch by a delivery: the older setting needs a bucket with ACLs.",
        }
        if props.web_acl_arn is None:
            reasons["AwsSolutions-CFR2"] = "The manifest turns the firewall off."
        if props.certificate_arn is None:
            reasons["AwsSolutions-CFR4"] = "Without a domain CloudFront's own certificate leaves no choice of TLS."
        return reasons

    def _security_headers(self) -> aws_cloudfront.CfnResponseHeadersPolicy:
        connects = " ".join(("'self'", *self._props.connects))
        policy = (
            f"default-src 'self'; connect-src {connects}; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
            "form-action 'self'; frame-ancestors 'none'; upgrade-insecure-requests"
        )
        return aws_cloudfront.CfnResponseHeadersPolicy(
            self,
            "Headers",
            response_headers_policy_config={
                "name": f"{self._props.comment}-console",
                "securityHeadersConfig": {
                    "contentSecurityPolicy": {"contentSecurityPolicy": policy, "override": True},
                    "contentTypeOptions": {"override": True},
                    "frameOptions": {"frameOption": "DENY", "override": True},
                    "referrerPolicy": {"referrerPolicy": "no-referrer", "override": True},
                    "strictTransportSecurity": {
                        "accessControlMaxAgeSec": _YEARS_2_S,
                        "includeSubdomains": True,
                        "override": True,
                    },
                },
                "customHeadersConfig": {
                    "items": [
                        {
                            "header": "Permissions-Policy",
                            "value": "camera=(), geolocation=(), microphone=(), payment=()",
                            "override": True,
                        },
                        {"header": "Cross-Origin-Opener-Policy", "value": "same-origin", "override": True},
                    ]
                },
            },
        )

    def _readable_by_the_distribution(self) -> dict[str, Any]:
        objects = f"{self.bucket.attr_arn}/*"
        return {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "Distribution",
                    "Effect": "Allow",
                    "Principal": {"Service": "cloudfront.amazonaws.com"},
                    "Action": "s3:GetObject",
                    "Resource": objects,
                    "Condition": {"StringEquals": {"aws:SourceArn": self.arn}},
                },
                {
                    "Sid": "EncryptedOnly",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": [self.bucket.attr_arn, objects],
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                },
            ],
        }

    def _log(self) -> None:
        """Each request, to CloudWatch: the source is the distribution, and what connects both is the delivery."""
        props = self._props
        group = aws_logs.CfnLogGroup(self, "Log", log_group_name=props.log_group, retention_in_days=props.log_days)
        keep(group, lasting=False)
        source = aws_logs.CfnDeliverySource(
            self, "LogSource", name=f"{props.comment}-console", resource_arn=self.arn, log_type="ACCESS_LOGS"
        )
        target = aws_logs.CfnDeliveryDestination(
            self,
            "LogTarget",
            name=f"{props.comment}-console",
            # The delivery takes the group without the `:*` that its ARN ends in.
            destination_resource_arn=f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:log-group:{group.ref}",
            output_format="json",
        )
        aws_logs.CfnDelivery(
            self, "LogDelivery", delivery_source_name=source.ref, delivery_destination_arn=target.attr_arn
        )
