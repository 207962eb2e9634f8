"""The operators' instance: private, reached by nobody, with what it takes to work."""

import json

import pytest

from slipway.infra.app import StackTemplate
from tests.infra.synthesis import assembly, mutated, only


def bastion() -> StackTemplate:
    return assembly("agent-gateways", "prod").stack("bastion")


@pytest.mark.requirement("CMP-04", "T")
@pytest.mark.parametrize(("instance", "disk"), [("t3.large", 50), ("t3.xlarge", 80)])
def test_its_size_is_the_manifests(instance: str, disk: int) -> None:
    changes = {"bastion": {"instance": instance, "disk": f"{disk}GiB"}}
    stack = bastion() if disk == 50 else mutated("agent-gateways", "prod", changes).stack("bastion")
    assert only(stack.resources(), "AWS::EC2::Instance")["Properties"]["InstanceType"] == instance
    data = only(stack.resources(), "AWS::EC2::LaunchTemplate")["Properties"]["LaunchTemplateData"]
    [volume] = data["BlockDeviceMappings"]
    assert (volume["Ebs"]["VolumeSize"], volume["Ebs"]["Encrypted"]) == (disk, True)


@pytest.mark.requirement("CMP-04", "T")
def test_it_is_private_and_its_metadata_is_one_hop_away() -> None:
    resources = bastion().resources()
    instance = only(resources, "AWS::EC2::Instance")["Properties"]
    subnets = assembly("agent-gateways", "prod").stack("foundation").resources("AWS::EC2::Subnet")
    [subnet] = [each for name, each in subnets.items() if name in instance["SubnetId"]["Fn::ImportValue"]]
    tags = {tag["Key"]: tag["Value"] for tag in subnet["Properties"]["Tags"]}
    assert subnet["Properties"]["MapPublicIpOnLaunch"] is False and "private" in tags["Name"]
    options = only(resources, "AWS::EC2::LaunchTemplate")["Properties"]["LaunchTemplateData"]["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)
    assert "KeyName" not in instance


@pytest.mark.requirement("CMP-04", "T")
def test_nobody_can_connect_to_it_and_session_manager_can() -> None:
    whole = assembly("agent-gateways", "prod")
    [imported] = only(bastion().resources(), "AWS::EC2::Instance")["Properties"]["SecurityGroupIds"]
    group = "Bastion"
    assert group in json.dumps(imported)
    for stack in whole.stacks:
        for rule in stack.resources("AWS::EC2::SecurityGroupIngress").values():
            assert group not in json.dumps(rule["Properties"]["GroupId"]), rule
    role = only(bastion().resources(), "AWS::IAM::Role")["Properties"]
    assert [json.dumps(arn).count("AmazonSSMManagedInstanceCore") for arn in role["ManagedPolicyArns"]] == [1]
    [statement] = role["Policies"][0]["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["eks:DescribeCluster"]


@pytest.mark.requirement("CMP-04", "T")
def test_it_installs_what_operators_and_developers_need() -> None:
    data = only(bastion().resources(), "AWS::EC2::LaunchTemplate")["Properties"]["LaunchTemplateData"]
    script = json.dumps(data["UserData"])
    for part in ("docker", "nodejs24", "python3.12", "code-server@4.139.1", "v1.35.8/bin/linux/amd64/kubectl"):
        assert part in script
    assert "sha256sum -c -" in script
    assert "--bind-addr 127.0.0.1:8080" in script
    assert data["ImageId"].startswith("resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023")


def test_without_a_section_there_is_none() -> None:
    with pytest.raises(KeyError):
        assembly("rag-assistant", "prod").stack("bastion")
