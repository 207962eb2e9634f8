"""Small stacks as data, for tests of what looks at templates: plan, checks, costs."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slipway.infra.app import Assembly, StackTemplate
from slipway.infra.naming import tags_of
from slipway.infra.site import Site, site_of
from tests.infra.synthesis import INPUTS, manifest_of

Resources = Mapping[str, Mapping[str, Any]]


def site() -> Site:
    """A site whose stacks are made by hand."""
    return site_of(manifest_of("rag-assistant", "prod"), "prod", INPUTS)


def tags() -> list[dict[str, str]]:
    """The tags that everything carries there."""
    where = site()
    return [{"Key": key, "Value": value} for key, value in tags_of(where.manifest, where.names, INPUTS).items()]


def assembled(part: str = "data", **resources: Mapping[str, Any]) -> Assembly:
    """An assembly of one stack with these resources."""
    return of_stacks(**{part: {"Resources": resources}})


def of_stacks(**templates: Mapping[str, Any]) -> Assembly:
    """An assembly of stacks by part."""
    where = site()
    return Assembly(where, tuple(stack(where, part, template) for part, template in templates.items()))


def stack(where: Site, part: str, template: Mapping[str, Any], region: str = "us-east-1") -> StackTemplate:
    """One stack."""
    text = json.dumps({"Resources": {}, **template})
    return StackTemplate(
        part=part,
        name=where.names.stack(part),
        region=region,
        template=json.loads(text),
        text=text,
        after=(),
        feeds=(),
        paths={},
    )


def changed(assembly: Assembly, place: str, **properties: Any) -> Assembly:
    """The assembly with other properties of the resource at `part/logical id`; None takes one away."""
    part, name = place.split("/")
    stacks = []
    for each in assembly.stacks:
        if each.part == part:
            template = json.loads(each.text)
            resource = template["Resources"][name]
            merged = {**resource.get("Properties", {}), **properties}
            resource["Properties"] = {key: value for key, value in merged.items() if value is not None}
            each = replace(each, template=template, text=json.dumps(template))
        stacks.append(each)
    return Assembly(assembly.site, tuple(stacks))


def bucket(**properties: Any) -> dict[str, Any]:
    """A bucket that no rule of ours refuses."""
    return {
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]
            },
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
            "VersioningConfiguration": {"Status": "Enabled"},
            "Tags": tags(),
            **properties,
        },
    }


def table(**properties: Any) -> dict[str, Any]:
    """A table that no rule of ours refuses."""
    return {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            "SSESpecification": {"SSEEnabled": True},
            "Tags": tags(),
            **properties,
        },
    }


def database(**properties: Any) -> dict[str, Any]:
    """An Aurora cluster that no rule of ours refuses, but that no alarm looks at."""
    return {
        "Type": "AWS::RDS::DBCluster",
        "DeletionPolicy": "Snapshot",
        "UpdateReplacePolicy": "Snapshot",
        "Properties": {
            "BackupRetentionPeriod": 7,
            "DatabaseName": "slipway",
            "Engine": "aurora-postgresql",
            "EngineVersion": "16.6",
            "MasterUsername": "slipway",
            "ManageMasterUserPassword": True,
            "ServerlessV2ScalingConfiguration": {"MinCapacity": 1, "MaxCapacity": 16},
            "StorageEncrypted": True,
            "Tags": tags(),
            **properties,
        },
    }


def alarm(on: Any) -> dict[str, Any]:
    """An alarm that looks at something."""
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "ComparisonOperator": "GreaterThanThreshold",
            "Dimensions": [{"Name": "DBClusterIdentifier", "Value": on}],
            "EvaluationPeriods": 1,
            "MetricName": "CPUUtilization",
            "Namespace": "AWS/RDS",
            "Period": 60,
            "Statistic": "Average",
            "Threshold": 80,
            "Tags": tags(),
        },
    }


def role(*statements: Mapping[str, Any], reasons: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A role with these statements, and reasons beside it."""
    trusted = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}
    return {
        "Type": "AWS::IAM::Role",
        "Metadata": {"slipway:reasons": dict(reasons or {})},
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trusted]},
            "Policies": [
                {"PolicyName": "Own", "PolicyDocument": {"Version": "2012-10-17", "Statement": list(statements)}}
            ],
            "Tags": tags(),
        },
    }
