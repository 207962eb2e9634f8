"""EKS: the control plane, nodes, add-ons, and who may do what; numbers from the manifest."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from slipway.infra.app import StackTemplate
from slipway.infra.constructs.tools import kubectl
from tests.infra.synthesis import assembly, mutated, of_type, only

ADDONS = {
    "vpc-cni",
    "coredns",
    "kube-proxy",
    "aws-ebs-csi-driver",
    "adot",
    "cert-manager",
    "eks-pod-identity-agent",
    "metrics-server",
    "aws-secrets-store-csi-driver-provider",
}


def kubernetes() -> StackTemplate:
    return assembly("agent-gateways", "prod").stack("kubernetes")


def changed() -> StackTemplate:
    """Other numbers: what a test that holds a number must notice."""
    capacity = {"instance": "m7i.large", "min": 4, "max": 9, "disk": "60GiB", "kubernetes": "1.34"}
    changes = {"capacity": capacity, "monitoring": {"log_retention": "30d", "container_insights": False}}
    return mutated("agent-gateways", "prod", changes).stack("kubernetes")


def one(stack: StackTemplate, kind: str) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = only(stack.resources(), kind)["Properties"]
    return properties


@pytest.mark.requirement("CMP-03", "T")
def test_the_api_is_private_logged_and_its_secrets_are_encrypted() -> None:
    cluster = one(kubernetes(), "AWS::EKS::Cluster")
    network = cluster["ResourcesVpcConfig"]
    assert (network["EndpointPrivateAccess"], network["EndpointPublicAccess"]) == (True, False)
    assert "PublicAccessCidrs" not in network
    assert cluster["EncryptionConfig"][0]["Resources"] == ["secrets"]
    logs = cluster["Logging"]["ClusterLogging"]["EnabledTypes"]
    assert {each["Type"] for each in logs} == {"api", "audit", "authenticator", "controllerManager", "scheduler"}
    assert cluster["AccessConfig"] == {
        "AuthenticationMode": "API",
        "BootstrapClusterCreatorAdminPermissions": False,
    }
    assert cluster["DeletionProtection"] is True


@pytest.mark.requirement("CMP-03", "T")
def test_nodes_are_as_the_manifest_says() -> None:
    for stack, instance, least, most, disk, version in (
        (kubernetes(), "t3.medium", 3, 8, 30, "1.35"),
        (changed(), "m7i.large", 4, 9, 60, "1.34"),
    ):
        nodes = one(stack, "AWS::EKS::Nodegroup")
        assert nodes["InstanceTypes"] == [instance]
        assert nodes["ScalingConfig"] == {"MinSize": least, "MaxSize": most}
        assert nodes["Version"] == one(stack, "AWS::EKS::Cluster")["Version"] == version
        data = one(stack, "AWS::EC2::LaunchTemplate")["LaunchTemplateData"]
        volume = data["BlockDeviceMappings"][0]["Ebs"]
        assert (volume["VolumeSize"], volume["Encrypted"]) == (disk, True)
        # Pods are one hop further away than the node itself: they never get its role.
        assert data["MetadataOptions"] == {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        }


def test_the_log_of_the_control_plane_is_there_first_and_kept_as_long_as_all_others() -> None:
    for stack, days in ((kubernetes(), 7), (changed(), 30)):
        resources = stack.resources("AWS::Logs::LogGroup")
        [name] = [
            name for name, each in resources.items() if each["Properties"]["LogGroupName"].startswith("/aws/eks/")
        ]
        assert resources[name]["Properties"]["RetentionInDays"] == days
        assert name in only(stack.resources(), "AWS::EKS::Cluster")["DependsOn"]


@pytest.mark.requirement("CMP-03", "T")
def test_every_addon_is_there_and_those_that_nodes_wait_for_come_first() -> None:
    addons = kubernetes().resources("AWS::EKS::Addon")
    names = {each["Properties"]["AddonName"]: name for name, each in addons.items()}
    assert set(names) == ADDONS | {"amazon-cloudwatch-observability"}
    assert {each["Properties"]["AddonName"] for each in changed().resources("AWS::EKS::Addon").values()} == ADDONS
    [nodes] = kubernetes().resources("AWS::EKS::Nodegroup")
    for name, logical in names.items():
        first = name in {"vpc-cni", "kube-proxy", "eks-pod-identity-agent"}
        before = only(kubernetes().resources(), "AWS::EKS::Nodegroup")["DependsOn"]
        assert (logical in before) == first
        if not first and name != "adot":
            assert nodes in addons[logical]["DependsOn"]
    assert names["cert-manager"] in addons[names["adot"]]["DependsOn"]
    settings = json.loads(addons[names["vpc-cni"]]["Properties"]["ConfigurationValues"])
    assert settings["enableNetworkPolicy"] == "true"


@pytest.mark.requirement("CMP-03", "T")
def test_each_workload_has_a_role_of_its_own_that_its_service_account_alone_gets() -> None:
    resources = kubernetes().resources()
    site = assembly("agent-gateways", "prod").site
    associations = {
        each["Properties"]["ServiceAccount"]: each["Properties"]
        for each in of_type(resources, "AWS::EKS::PodIdentityAssociation")
    }
    workloads = {workload.name for workload in site.topology.workloads}
    assert set(associations) == workloads | {"aws-load-balancer-controller", "cluster-autoscaler"}
    roles = {name: each["RoleArn"]["Fn::GetAtt"][0] for name, each in associations.items()}
    assert len(set(roles.values())) == len(roles)
    for name in workloads:
        [statement] = resources[roles[name]]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
        pinned = statement["Condition"]["StringEquals"]
        assert pinned["aws:RequestTag/kubernetes-service-account"] == name
        assert pinned["aws:RequestTag/kubernetes-namespace"] == "slipway"
        assert pinned["aws:RequestTag/eks-cluster-name"] == "agent-gateways-prod"


def rights(workload: str) -> set[str]:
    resources = kubernetes().resources()
    [role] = [
        each["Properties"]["RoleArn"]["Fn::GetAtt"][0]
        for each in of_type(resources, "AWS::EKS::PodIdentityAssociation")
        if each["Properties"]["ServiceAccount"] == workload
    ]
    statements = resources[role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    return {each["Sid"] for each in statements}


def test_pods_may_what_their_needs_say() -> None:
    assert {"ModelsInvoke", "TableUsagePlans", "TableUsageLogs", "SecretsRead"} <= rights("gateway")
    assert "ModelsInvoke" not in rights("memory") and "TableUsagePlans" not in rights("memory")
    assert "ObjectsReadWrite" in rights("retrieval") and "ObjectsReadWrite" not in rights("identity")
    assert rights("aws-load-balancer-controller") == {"PutPodsIntoGroups", "FindGroups"}


def test_only_the_applier_and_operators_may_enter_and_operators_only_the_namespace() -> None:
    whole = assembly("agent-gateways", "prod")
    [applier] = of_type(whole.stack("kubernetes").resources(), "AWS::EKS::AccessEntry")
    assert [each["AccessScope"]["Type"] for each in applier["Properties"]["AccessPolicies"]] == ["cluster"]
    [operators] = of_type(whole.stack("bastion").resources(), "AWS::EKS::AccessEntry")
    scopes = {
        json.dumps(each["PolicyArn"]).rpartition("/")[2].rstrip('"]}'): each["AccessScope"]
        for each in operators["Properties"]["AccessPolicies"]
    }
    assert scopes == {
        "AmazonEKSAdminPolicy": {"Namespaces": ["slipway"], "Type": "namespace"},
        "AmazonEKSViewPolicy": {"Type": "cluster"},
    }


def test_the_build_that_applies_manifests_stands_in_the_network_and_starts_after_each_deploy() -> None:
    resources = kubernetes().resources()
    project = only(resources, "AWS::CodeBuild::Project")["Properties"]
    assert len(project["VpcConfig"]["Subnets"]) == 2
    assert project["Environment"]["PrivilegedMode"] is False
    spec = json.dumps(project["Source"]["BuildSpec"])
    known = kubectl("1.35")
    assert known.sha256 in spec and known.url in spec
    assert "225f44568848eb25f13e304a5f1cc68c0cd9415d" in spec
    pattern = only(resources, "AWS::Events::Rule")["Properties"]["EventPattern"]
    assert pattern["detail"] == {
        "stack-id": [{"Ref": "AWS::StackId"}],
        "status-details": {"status": ["CREATE_COMPLETE", "UPDATE_COMPLETE"]},
    }


def test_a_version_that_is_not_known_gets_the_nearest_client() -> None:
    assert "v1.34." in kubectl("1.33").url and "v1.36." in kubectl("1.38").url
    assert kubectl("1.35").fetch("k").endswith("| sha256sum -c -")


def test_elsewhere_there_is_no_kubernetes() -> None:
    with pytest.raises(KeyError):
        assembly("rag-assistant", "prod").stack("kubernetes")


@pytest.mark.requirement("CST-03", "T")
def test_nodes_rest_at_night_where_the_environment_does() -> None:
    stack = assembly("agent-gateways", "dev").stack("kubernetes")
    schedules = {
        each["Properties"]["Description"]: each for each in stack.resources("AWS::Scheduler::Schedule").values()
    }
    expressions = {name: each["Properties"]["ScheduleExpression"] for name, each in schedules.items()}
    assert expressions == {"Nodes: stop": "cron(0 22 ? * * *)", "Nodes: start": "cron(45 6 ? * MON-FRI *)"}
    request = json.dumps(schedules["Nodes: start"]["Properties"]["Target"]["Input"])
    assert '\\"MinSize\\":2,\\"MaxSize\\":5,\\"DesiredSize\\":2' in request
    assert not kubernetes().resources("AWS::Scheduler::Schedule")
    other = mutated("agent-gateways", "dev", {"schedule": {"stop": "20:30 UTC"}, "capacity": {"min": 3}})
    texts = json.dumps(list(other.stack("kubernetes").resources("AWS::Scheduler::Schedule").values()))
    assert "cron(30 20 ? * * *)" in texts and '\\"DesiredSize\\":3' in texts.replace("\\\\", "\\")
