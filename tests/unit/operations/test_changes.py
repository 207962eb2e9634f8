"""What a deploy does to each resource, over small templates: kinds of change, and what a replacement takes with it."""

from typing import Any

from slipway.operations.changes import Change, changes
from slipway.operations.references import Feeding, StackState


def state(part: str = "data", *, region: str = "us-east-1", feeds: tuple[Feeding, ...] = (), **template: Any):
    return StackState(part=part, name=f"site-{part}", region=region, template=template, feeds=feeds)


def of(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": kind, "Properties": properties}


def actions(found: tuple[Change, ...]) -> dict[str, str]:
    return {change.place: change.action for change in found}


def test_the_same_templates_leave_nothing_to_do():
    same = state(Resources={"Key": of("AWS::KMS::Key", Description="a")}, Outputs={"Key": {"Value": "x"}})
    assert changes([same], [same]) == ()


def test_metadata_alone_is_no_change():
    before = state(Resources={"Key": of("AWS::KMS::Key")})
    after = state(Resources={"Key": {**of("AWS::KMS::Key"), "Metadata": {"slipway:reasons": {"x": "y"}}}})
    assert changes([before], [after]) == ()


def test_created_changed_destroyed():
    before = state(Resources={"Old": of("AWS::SNS::Topic"), "Key": of("AWS::KMS::Key", Description="a")})
    after = state(Resources={"Key": of("AWS::KMS::Key", Description="b"), "New": of("AWS::SNS::Topic")})
    found = changes([before], [after])
    assert actions(found) == {"data/Key": "update", "data/New": "create", "data/Old": "destroy"}
    assert next(change for change in found if change.resource == "Key").why == ("Description",)


def test_a_create_only_property_replaces():
    before = state(Resources={"Bucket": of("AWS::S3::Bucket", BucketName="a")})
    after = state(Resources={"Bucket": of("AWS::S3::Bucket", BucketName="b")})
    [change] = changes([before], [after])
    assert (change.action, change.why, change.certain, change.data, change.kept) == (
        "replace",
        ("BucketName",),
        True,
        True,
        False,
    )


def test_a_property_that_may_replace_is_told_as_such():
    keys = [{"AttributeName": "a", "KeyType": "HASH"}]
    before = state(Resources={"Table": of("AWS::DynamoDB::Table", KeySchema=keys)})
    after = state(Resources={"Table": of("AWS::DynamoDB::Table", KeySchema=[*keys, {"AttributeName": "b"}])})
    [change] = changes([before], [after])
    assert (change.action, change.certain, change.loses_data) == ("replace", False, True)


def test_another_type_under_the_same_name_replaces():
    before = state(Resources={"Store": of("AWS::DynamoDB::Table")})
    after = state(Resources={"Store": {**of("AWS::S3::Bucket"), "UpdateReplacePolicy": "Retain"}})
    [change] = changes([before], [after])
    assert (change.action, change.why, change.kept) == ("replace", ("was AWS::DynamoDB::Table",), True)


def test_a_stack_that_vanishes_takes_its_resources():
    before = state("extra", Resources={"Table": {**of("AWS::DynamoDB::Table"), "DeletionPolicy": "Retain"}})
    [change] = changes([before], [state(Resources={})])
    assert (change.place, change.action, change.loses_data, change.kept) == ("extra/Table", "destroy", True, True)


def test_replacement_spreads_by_create_only_references_and_stops_at_others():
    """Subnet group → cluster (create-only) → instance (create-only) → alarm (a dimension: changed only)."""

    def stack(description: str) -> StackState:
        return state(
            Resources={
                "Group": of("AWS::RDS::DBSubnetGroup", DBSubnetGroupName=description),
                "Cluster": of("AWS::RDS::DBCluster", DBSubnetGroupName={"Ref": "Group"}),
                "Instance": of("AWS::RDS::DBInstance", DBClusterIdentifier={"Ref": "Cluster"}),
                "Alarm": of("AWS::CloudWatch::Alarm", Dimensions=[{"Name": "x", "Value": {"Ref": "Cluster"}}]),
                "Other": of("AWS::SNS::Topic", DisplayName="y"),
            }
        )

    found = changes([stack("a")], [stack("b")])
    assert actions(found) == {
        "data/Group": "replace",
        "data/Cluster": "replace",
        "data/Instance": "replace",
        "data/Alarm": "update",
    }
    cluster = next(change for change in found if change.resource == "Cluster")
    assert cluster.why == ("DBSubnetGroupName refers to data/Group, which is replaced",)
    assert cluster.loses_data


def test_replacement_spreads_between_stacks_by_exports_and_substitutions():
    def stacks(name: str) -> list[StackState]:
        outputs = {"Arn": {"Value": {"Fn::GetAtt": ["Group", "Arn"]}, "Export": {"Name": "site-data:Group"}}}
        data = state(Resources={"Group": of("AWS::Logs::LogGroup", LogGroupName=name)}, Outputs=outputs)
        filters = {
            "Filter": of("AWS::Logs::MetricFilter", LogGroupName={"Fn::ImportValue": "site-data:Group"}),
            "Text": of("AWS::SSM::Parameter", Value={"Fn::Sub": "${Filter} and ${!Literal}"}),
        }
        return [data, state("watch", Resources=filters)]

    assert actions(changes(stacks("a"), stacks("b"))) == {
        "data/Group": "replace",
        "watch/Filter": "replace",
        "watch/Text": "update",
    }


def test_replacement_spreads_between_regions_by_parameters_that_are_fed():
    def stacks(name: str) -> list[StackState]:
        first = state(
            Resources={"Bucket": of("AWS::S3::Bucket", BucketName=name)}, Outputs={"Name": {"Value": {"Ref": "Bucket"}}}
        )
        second = state(
            "recovery",
            region="us-west-2",
            feeds=(Feeding("From", "data", "Name"),),
            Parameters={"From": {"Type": "String"}},
            Resources={"Text": of("AWS::SSM::Parameter", Value={"Ref": "From"})},
        )
        return [first, second]

    assert actions(changes(stacks("a"), stacks("b"))) == {"data/Bucket": "replace", "recovery/Text": "update"}


def test_what_is_created_is_not_told_twice():
    def stack(name: str, *, more: bool) -> StackState:
        resources = {"Bucket": of("AWS::S3::Bucket", BucketName=name)}
        if more:
            resources["Policy"] = of("AWS::S3::BucketPolicy", Bucket={"Ref": "Bucket"})
        return state(Resources=resources)

    found = changes([stack("a", more=False)], [stack("b", more=True)])
    assert actions(found) == {"data/Bucket": "replace", "data/Policy": "create"}


def test_outputs_are_told():
    before = state(Resources={}, Outputs={"Old": {"Value": "a"}, "Same": {"Value": "b"}})
    after = state(Resources={}, Outputs={"Same": {"Value": "c"}})
    assert actions(changes([before], [after])) == {"data/Outputs.Old": "destroy", "data/Outputs.Same": "update"}


def test_a_replacement_under_the_same_name_is_told_as_impossible():
    def group(vpc: str, **named: str) -> StackState:
        return state(Resources={"Group": of("AWS::RDS::DBParameterGroup", Family=vpc, Description="a", **named)})

    [stuck] = changes([group("a", DBParameterGroupName="n")], [group("b", DBParameterGroupName="n")])
    assert (stuck.action, stuck.stuck) == ("replace", "DBParameterGroupName")
    [free] = changes([group("a")], [group("b")])
    assert (free.action, free.stuck) == ("replace", "")
    [renamed] = changes([group("a", DBParameterGroupName="n")], [group("b", DBParameterGroupName="m")])
    assert renamed.stuck == ""
