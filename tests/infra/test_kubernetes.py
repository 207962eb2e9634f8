"""Kubernetes' manifests: valid by Kubernetes' own schemas, and with the manifest's numbers.

Validated: every document of a kind of Kubernetes' own, strictly (no unknown field), by the JSON schemas that
kubernetes-validate carries, made from the OpenAPI document of the same version as the control plane. The two kinds of
others (TargetGroupBinding, SecretProviderClass) have no schema there: their fields are compared with those that the
definitions of aws-load-balancer-controller 3.5.0 and of secrets-store-csi-driver 1.5 require and know.
"""

import json
from typing import Any

import kubernetes_validate
import pytest

from slipway.infra.kubernetes.application import Application, PodSecret, Scaling, documents_of
from slipway.infra.kubernetes.policies import Surroundings, policies_of
from slipway.infra.topology import Edge
from tests.infra.synthesis import assembly, manifest_of, mutated

OTHERS = {"TargetGroupBinding", "SecretProviderClass"}


def resolved(value: Any) -> Any:
    """A value of CloudFormation as text, with what only AWS knows as a name."""
    if isinstance(value, str):
        return value
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return separator.join(resolved(part) for part in parts)
    if "Fn::Sub" in value:
        return value["Fn::Sub"]
    return next(str(part if isinstance(part, str) else "-".join(map(str, part))) for part in value.values())


def hosted(stack: Any) -> list[dict[str, Any]]:
    [version] = stack.resources("AWS::AppConfig::HostedConfigurationVersion").values()
    document = json.loads(resolved(version["Properties"]["Content"]))
    assert (document["apiVersion"], document["kind"]) == ("v1", "List")
    items: list[dict[str, Any]] = document["items"]
    return items


def documents() -> list[dict[str, Any]]:
    """What the template of agent-gateways in prod applies."""
    return hosted(assembly("agent-gateways", "prod").stack("kubernetes"))


def changed() -> list[dict[str, Any]]:
    scale = {"min": 3, "max": 7, "cpu": "55%", "memory": "65%", "sustained": "5m"}
    changes = {
        "components": {"gateway": {"size": "large", "scale": scale}},
        "capacity": {"instance": "m7i.4xlarge"},
    }
    return hosted(mutated("agent-gateways", "prod", changes).stack("kubernetes"))


def find(items: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in items if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


@pytest.mark.requirement("CMP-03", "T")
def test_every_document_is_valid_by_kubernetes_own_schema() -> None:
    version = manifest_of("agent-gateways", "prod").capacity.kubernetes
    kinds = set()
    for document in documents():
        kinds.add(document["kind"])
        if document["kind"] not in OTHERS:
            kubernetes_validate.validate(document, version, strict=True)
    assert kinds == OTHERS | {
        "Namespace",
        "NetworkPolicy",
        "ServiceAccount",
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    }


def test_the_schema_refuses_what_kubernetes_would() -> None:
    wrong = json.loads(json.dumps(find(documents(), "Deployment", "gateway")))
    wrong["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.35", strict=True)


def test_documents_of_others_have_the_fields_that_their_definitions_know() -> None:
    binding = find(documents(), "TargetGroupBinding", "gateway")
    assert binding["apiVersion"] == "elbv2.k8s.aws/v1beta1"
    assert set(binding["spec"]) == {"serviceRef", "targetGroupARN", "targetType"}
    assert binding["spec"]["serviceRef"] == {"name": "gateway", "port": 8700}
    assert binding["spec"]["targetType"] == "ip"
    secrets = find(documents(), "SecretProviderClass", "gateway")
    assert secrets["apiVersion"] == "secrets-store.csi.x-k8s.io/v1"
    assert set(secrets["spec"]) == {"provider", "parameters", "secretObjects"}
    assert all(isinstance(value, str) for value in secrets["spec"]["parameters"].values())
    aliases = set()
    for each in json.loads(secrets["spec"]["parameters"]["objects"]):
        assert each["objectType"] == "secretsmanager" and each["objectName"]
        aliases |= {key["objectAlias"] for key in each.get("jmesPath", [])} or {each["objectAlias"]}
    [kept] = secrets["spec"]["secretObjects"]
    assert {each["objectName"] for each in kept["data"]} == aliases >= {"SLIPWAY_SECRET_KEY"}


@pytest.mark.requirement("CMP-03", "T")
def test_numbers_come_from_the_manifest() -> None:
    for items, cpu, memory, least, most, limits, window in (
        (documents(), "500m", "1024Mi", 2, 10, {"cpu": 70, "memory": 80}, 120),
        (changed(), "4000m", "8192Mi", 3, 7, {"cpu": 55, "memory": 65}, 300),
    ):
        pod = find(items, "Deployment", "gateway")["spec"]["template"]["spec"]
        asked = [each["resources"] for each in (*pod["containers"], *pod["initContainers"])]
        assert all(each["requests"] == each["limits"] for each in asked)
        total = {"cpu": 0, "memory": 0}
        for each in asked:
            total["cpu"] += int(each["limits"]["cpu"].removesuffix("m"))
            total["memory"] += int(each["limits"]["memory"].removesuffix("Mi"))
        # The collector's share is the workload's own; thousandths of a core are rounded down for each.
        assert abs(total["cpu"] - int(cpu.removesuffix("m"))) <= 1
        assert total["memory"] == int(memory.removesuffix("Mi"))
        autoscaler = find(items, "HorizontalPodAutoscaler", "gateway")["spec"]
        assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (least, most)
        targets = {
            each["resource"]["name"]: each["resource"]["target"]["averageUtilization"] for each in autoscaler["metrics"]
        }
        assert targets == limits
        assert autoscaler["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == window
        assert "replicas" not in find(items, "Deployment", "gateway")["spec"]


@pytest.mark.requirement("CMP-09", "T")
def test_pods_may_do_little() -> None:
    for document in documents():
        if document["kind"] != "Deployment":
            continue
        pod = document["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsUser"] == 10001
        for each in (container, *pod["initContainers"]):
            confined = each["securityContext"]
            assert confined["readOnlyRootFilesystem"] is True
            assert confined["allowPrivilegeEscalation"] is False
            assert confined["capabilities"] == {"drop": ["ALL"]}
            assert set(each["resources"]["limits"]) == {"cpu", "memory"}
        assert {each["mountPath"] for each in container["volumeMounts"]} >= {"/tmp", "/var/lib/slipway"}
        assert container["livenessProbe"]["httpGet"]["path"] == "/health"
        assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
        assert container["image"].endswith("@sha256:" + "ab" * 32)
    [space] = [each for each in documents() if each["kind"] == "Namespace"]
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_no_secret_stands_in_a_document_and_each_comes_from_secrets_manager() -> None:
    container = find(documents(), "Deployment", "gateway")["spec"]["template"]["spec"]["containers"][0]
    by_name = {each["name"]: each for each in container["env"]}
    assert "value" not in by_name["SLIPWAY_SECRET_KEY"]
    assert by_name["SLIPWAY_SECRET_KEY"]["valueFrom"]["secretKeyRef"] == {
        "name": "gateway",
        "key": "SLIPWAY_SECRET_KEY",
    }
    assert by_name["SLIPWAY_IDENTITY_URL"]["value"] == "http://identity.slipway:8700"


def test_network_policies_are_the_topologys_edges_and_no_more() -> None:
    site = assembly("agent-gateways", "prod").site
    names = {workload.name for workload in site.topology.workloads}
    expected = {
        (edge.source, edge.target, edge.port)
        for edge in site.topology.edges
        if edge.source in names and edge.target in names
    }
    let_in, let_out = set(), set()
    for document in documents():
        if document["kind"] != "NetworkPolicy" or document["metadata"]["name"] == "refuse-all":
            continue
        name = document["metadata"]["name"]
        for direction, key, found in (("ingress", "from", let_in), ("egress", "to", let_out)):
            for rule in document["spec"][direction]:
                for peer in rule[key]:
                    labels = peer.get("podSelector", {}).get("matchLabels", {})
                    other = labels.get("app.kubernetes.io/name")
                    if other is not None:
                        [port] = rule["ports"]
                        pair = (other, name) if direction == "ingress" else (name, other)
                        found.add((*pair, port["port"]))
    assert let_in == let_out == expected
    refused = find(documents(), "NetworkPolicy", "refuse-all")["spec"]
    assert refused == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_pods_cannot_reach_the_nodes_metadata_and_data_only_where_it_is() -> None:
    around = Surroundings(
        namespace="n", workloads=["a", "b"], entrance=["10.0.0.0/24"], ranges={"postgres": ["10.0.9.0/24"]}
    )
    _, a, b = policies_of(around, [Edge("a", "postgres", 5432), Edge("load-balancer", "a", 8700)], ["a"])
    assert {"to": [{"ipBlock": {"cidr": "10.0.9.0/24"}}], "ports": [{"port": 5432, "protocol": "TCP"}]} in a["spec"][
        "egress"
    ]
    outward = [rule for rule in a["spec"]["egress"] if rule["ports"][0]["port"] == 443]
    assert outward == [
        {
            "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}],
            "ports": [{"port": 443, "protocol": "TCP"}],
        }
    ]
    assert a["spec"]["ingress"] == [
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/24"}}], "ports": [{"port": 8700, "protocol": "TCP"}]}
    ]
    assert b["spec"]["ingress"] == []
    assert {rule["ports"][0]["port"] for rule in b["spec"]["egress"]} == {53, 80}
    for document in (a, b):
        kubernetes_validate.validate(document, "1.35", strict=True)


def test_a_service_of_ones_own_without_http_or_copies() -> None:
    application = Application(
        name="cache",
        namespace="n",
        service="redis",
        image="redis@sha256:" + "cd" * 32,
        port=6379,
        cpu=256,
        memory_mib=512,
        user=999,
        region="us-east-1",
        health=None,
        ready=None,
        secrets=[PodSecret(variable="TOKEN", arn="arn:one"), PodSecret(variable="USER", arn="arn:two", key="username")],
        scaling=Scaling(least=1, most=1, cpu=70, memory=None, sustained_s=60),
    )
    made = documents_of(application)
    assert [each["kind"] for each in made] == ["ServiceAccount", "SecretProviderClass", "Deployment", "Service"]
    deployment = made[2]
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["tcpSocket"] == {"port": 6379}
    assert made[3]["metadata"]["name"] == "redis"
    for each in (made[0], *made[2:]):
        kubernetes_validate.validate(each, "1.35", strict=True)
    objects = json.loads(made[1]["spec"]["parameters"]["objects"])
    assert objects[0] == {"objectName": "arn:one", "objectType": "secretsmanager", "objectAlias": "TOKEN"}
    assert objects[1]["jmesPath"] == [{"path": "username", "objectAlias": "USER"}]


def test_the_load_balancer_leads_to_every_workload_that_has_a_route() -> None:
    stack = assembly("agent-gateways", "prod").stack("kubernetes")
    site = assembly("agent-gateways", "prod").site
    routed = [workload for workload in site.topology.workloads if workload.routes]
    assert len(stack.resources("AWS::ElasticLoadBalancingV2::ListenerRule")) == len(routed)
    groups = stack.resources("AWS::ElasticLoadBalancingV2::TargetGroup")
    bound = {each["spec"]["targetGroupARN"] for each in documents() if each["kind"] == "TargetGroupBinding"}
    assert bound == set(groups)
