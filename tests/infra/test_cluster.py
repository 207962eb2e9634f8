"""The cluster and its instances, by the manifest's numbers."""

import base64
from typing import Any

import pytest

from slipway.infra.app import Resource
from slipway.infra.policies import policies
from tests.infra.platform_stacks import platform, statements, texts
from tests.infra.synthesis import assembly, mutated, of_type, only

CHANGED = {"capacity": {"instance": "m6i.large", "min": 2, "max": 7, "target": "80%", "disk": "64GiB"}}


def launch(resources: dict[str, Resource]) -> Any:
    return only(resources, "AWS::EC2::LaunchTemplate")["Properties"]["LaunchTemplateData"]


def bounds(resources: dict[str, Resource]) -> tuple[str, str, str, int]:
    group = only(resources, "AWS::AutoScaling::AutoScalingGroup")["Properties"]
    provider = only(resources, "AWS::ECS::CapacityProvider")["Properties"]["AutoScalingGroupProvider"]
    scaling = provider["ManagedScaling"]
    assert scaling["Status"] == "ENABLED"
    return launch(resources)["InstanceType"], group["MinSize"], group["MaxSize"], scaling["TargetCapacity"]


@pytest.mark.requirement("CMP-02", "T")
def test_instances_stay_within_their_bounds_and_are_filled_up():
    assert bounds(platform("microservices", "prod")) == ("t3.medium", "1", "5", 100)


@pytest.mark.requirement("CMP-02", "T")
def test_other_bounds_change_the_template():
    resources = platform("microservices", "prod", CHANGED)
    assert bounds(resources) == ("m6i.large", "2", "7", 80)
    [disk] = launch(resources)["BlockDeviceMappings"]
    assert disk["Ebs"]["VolumeSize"] == 64


@pytest.mark.requirement("CMP-02", "T")
def test_services_run_on_the_instances_and_on_nothing_else():
    resources = platform("microservices", "prod")
    [provider] = [name for name, each in resources.items() if each["Type"] == "AWS::ECS::CapacityProvider"]
    services = of_type(resources, "AWS::ECS::Service")
    assert len(services) == 5
    for service in services:
        strategy = service["Properties"]["CapacityProviderStrategy"]
        assert [each["CapacityProvider"] for each in strategy] == [{"Ref": provider}]
    ties = only(resources, "AWS::ECS::ClusterCapacityProviderAssociations")["Properties"]
    assert ties["CapacityProviders"] == [{"Ref": provider}]


def test_an_instance_answers_for_its_metadata_only_with_a_token_from_itself():
    data = launch(platform("microservices", "prod"))
    assert data["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
    }
    [disk] = data["BlockDeviceMappings"]
    assert disk["Ebs"]["Encrypted"] is True
    assert data["ImageId"] == ("resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id")
    assert data["SecurityGroupIds"] == ["sg-instances"]


def test_an_instance_joins_its_cluster_and_has_the_folders_of_its_services():
    script = texts(launch(platform("microservices", "prod"))["UserData"])
    script = script if script.startswith("#!") else base64.b64decode(script).decode()
    assert "ECS_CLUSTER=microservices-prod\n" in script
    assert "ECS_AWSVPC_BLOCK_IMDS=true\n" in script
    assert "install -d -m 0700 -o 999 -g 999 /var/lib/slipway/redis\n" in script
    assert "amazon-efs-utils" in script  # it mounts qdrant's file system


def test_tasks_go_before_an_instance_does():
    provider = only(platform("microservices", "prod"), "AWS::ECS::CapacityProvider")["Properties"]
    assert provider["AutoScalingGroupProvider"]["ManagedDraining"] == "ENABLED"
    assert provider["AutoScalingGroupProvider"]["ManagedTerminationProtection"] == "ENABLED"


@pytest.mark.requirement("SEC-06", "T")
def test_an_instances_role_belongs_to_its_cluster_and_is_no_tasks():
    resources = platform("microservices", "prod")
    [role] = [each for name, each in resources.items() if name.startswith("InstancesRole")]
    assert role["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {
        "Service": "ec2.amazonaws.com"
    }
    assert "ManagedPolicyArns" not in role["Properties"]
    actions = {action for statement in statements(role) for action in statement["Action"]}
    assert {action.partition(":")[0] for action in actions} == {"ecs"}


@pytest.mark.parametrize(("insights", "value"), [(True, "enhanced"), (False, "disabled")])
def test_container_insights_are_the_manifests(insights: bool, value: str):
    resources = platform("rag-assistant", "dev", {"monitoring": {"container_insights": insights}})
    settings = only(resources, "AWS::ECS::Cluster")["Properties"]["ClusterSettings"]
    assert settings == [{"Name": "containerInsights", "Value": value}]


def test_without_instances_fargate_serves_and_spot_is_at_hand():
    resources = platform("rag-assistant", "dev")
    ties = only(resources, "AWS::ECS::ClusterCapacityProviderAssociations")["Properties"]
    assert ties["CapacityProviders"] == ["FARGATE", "FARGATE_SPOT"]
    assert not of_type(resources, "AWS::AutoScaling::AutoScalingGroup")


def test_scaling_that_instances_do_not_follow_is_told_and_not_refused():
    found = [each for each in policies(assembly("microservices", "prod")) if each.rule == "ceiling"]
    [ceiling] = found
    assert "scaling may ask for 32 copies, and 5 × t3.medium have network interfaces for 10 (2 each)" in ceiling.message
    assert (ceiling.severity, ceiling.refused) == ("warning", False)
    larger = {"capacity": {"max": 16}}
    assert not [each for each in policies(mutated("microservices", "prod", larger)) if each.rule == "ceiling"]
