"""The console on CloudFront: a private bucket, HTTPS alone, headers, and pages for paths that are no file."""

from typing import Any

import pytest

from slipway.infra.app import Resource
from tests.infra.edge_stacks import blueprint, resources
from tests.infra.synthesis import of_type, only


def console(changes: dict[str, Any] | None = None) -> dict[str, Resource]:
    return resources("agent-gateways", "prod", "edge-global", changes)


def distribution(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = only(console(changes), "AWS::CloudFront::Distribution")["Properties"]["DistributionConfig"]
    return found


@pytest.mark.requirement("NET-14", "T")
def test_the_bucket_is_private_and_answers_this_distribution_alone() -> None:
    found = console()
    bucket = only(found, "AWS::S3::Bucket")["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    [origin] = distribution()["Origins"]
    control = found[origin["OriginAccessControlId"]["Ref"]]["Properties"]["OriginAccessControlConfig"]
    assert (control["SigningBehavior"], control["OriginAccessControlOriginType"]) == ("always", "s3")
    read, encrypted = only(found, "AWS::S3::BucketPolicy")["Properties"]["PolicyDocument"]["Statement"]
    assert read["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert read["Action"] == "s3:GetObject"
    assert "distribution/" in str(read["Condition"]["StringEquals"]["aws:SourceArn"])
    assert encrypted["Effect"] == "Deny"
    assert encrypted["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.requirement("NET-14", "T")
def test_it_speaks_https_alone_with_the_manifests_oldest_tls() -> None:
    assert distribution()["DefaultCacheBehavior"]["ViewerProtocolPolicy"] == "https-only"
    assert distribution()["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.3_2025"
    older = distribution({"edge": {"tls": "1.2"}})["ViewerCertificate"]
    assert older["MinimumProtocolVersion"] == "TLSv1.2_2021"


@pytest.mark.requirement("NET-14", "T")
def test_every_answer_has_the_security_headers() -> None:
    found = console()
    policy = distribution()["DefaultCacheBehavior"]["ResponseHeadersPolicyId"]["Ref"]
    headers = found[policy]["Properties"]["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
    transport = headers["StrictTransportSecurity"]
    assert (transport["AccessControlMaxAgeSec"], transport["IncludeSubdomains"]) == (63_072_000, True)
    assert headers["FrameOptions"]["FrameOption"] == "DENY"
    assert headers["ReferrerPolicy"]["ReferrerPolicy"] == "no-referrer"
    assert "ContentTypeOptions" in headers
    content = headers["ContentSecurityPolicy"]["ContentSecurityPolicy"]
    assert "default-src 'self'" in content
    assert "frame-ancestors 'none'" in content
    assert "unsafe" not in content
    assert "connect-src 'self' https://gateways.example.com https://*.auth.us-east-1.amazoncognito.com;" in content


@pytest.mark.requirement("NET-14", "T")
def test_a_path_that_is_no_file_is_answered_with_the_page() -> None:
    answers = {
        each["ErrorCode"]: (each["ResponseCode"], each["ResponsePagePath"])
        for each in distribution()["CustomErrorResponses"]
    }
    assert answers == {403: (200, "/index.html"), 404: (200, "/index.html")}


@pytest.mark.requirement("NET-14", "T")
def test_it_is_in_us_east_1_and_there_only_where_the_manifest_wants_it() -> None:
    assert blueprint("agent-gateways", "prod").assembly.stack("edge-global").region == "us-east-1"
    assert "edge-global" not in {stack.part for stack in blueprint("rag-assistant", "prod").assembly.stacks}


def test_requests_are_logged_for_as_long_as_everything() -> None:
    def days(changes: dict[str, Any] | None = None) -> int:
        [group] = [
            each["Properties"]
            for each in of_type(console(changes), "AWS::Logs::LogGroup")
            if each["Properties"]["LogGroupName"].startswith("/slipway/")
        ]
        kept: int = group["RetentionInDays"]
        return kept

    assert days() == 7
    assert days({"monitoring": {"log_retention": "14d"}}) == 14
    assert only(console(), "AWS::Logs::DeliverySource")["Properties"]["LogType"] == "ACCESS_LOGS"
