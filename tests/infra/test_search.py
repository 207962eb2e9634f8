"""Vectors in OpenSearch Serverless, and the domain that logs are searched in."""

import json
from typing import Any

import pytest

from slipway.infra.constructs.search_domain import zones_of
from tests.infra.data_stacks import data
from tests.infra.synthesis import of_type, only

COLLECTION = "AWS::OpenSearchServerless::Collection"
DOMAIN = "AWS::OpenSearchService::Domain"


def policy(resources: dict[str, Any], kind: str) -> str:
    [found] = [
        each["Properties"]["Policy"]
        for each in of_type(resources, "AWS::OpenSearchServerless::SecurityPolicy")
        if each["Properties"]["Type"] == kind
    ]
    return found if isinstance(found, str) else json.dumps(found)


@pytest.mark.requirement("DAT-06", "T")
def test_the_collection_is_for_vectors_encrypted_and_private() -> None:
    resources = data("mcp-hybrid", "prod")
    collection = only(resources, COLLECTION)["Properties"]
    assert collection["Type"] == "VECTORSEARCH"
    encryption = json.loads(policy(resources, "encryption"))
    assert encryption["KmsARN"].endswith(":key/opensearch")
    assert encryption["Rules"] == [{"ResourceType": "collection", "Resource": [f"collection/{collection['Name']}"]}]
    assert '\\"AllowFromPublic\\":false' in policy(resources, "network")
    endpoint = only(resources, "AWS::OpenSearchServerless::VpcEndpoint")["Properties"]
    assert endpoint["SecurityGroupIds"] == ["sg-opensearch"]


@pytest.mark.requirement("DAT-06", "T")
def test_the_manifest_says_whether_the_collection_has_a_standby() -> None:
    for environment, standby in (("prod", "ENABLED"), ("dev", "DISABLED")):
        assert only(data("mcp-hybrid", environment), COLLECTION)["Properties"]["StandbyReplicas"] == standby
    changed = data("mcp-hybrid", "prod", {"data": {"opensearch": {"standby": False}}})
    assert only(changed, COLLECTION)["Properties"]["StandbyReplicas"] == "DISABLED"


@pytest.mark.requirement("DAT-06", "T")
def test_the_domain_has_the_manifests_nodes_over_the_zones() -> None:
    domain = only(data("agent-gateways", "prod"), DOMAIN)["Properties"]
    assert domain["ClusterConfig"]["InstanceCount"] == 2
    assert domain["ClusterConfig"]["InstanceType"] == "t3.small.search"
    assert domain["ClusterConfig"]["ZoneAwarenessConfig"] == {"AvailabilityZoneCount": 2}
    assert len(domain["VPCOptions"]["SubnetIds"]) == 2
    assert domain["EBSOptions"]["VolumeSize"] == 20


@pytest.mark.requirement("DAT-06", "T")
def test_other_nodes_and_disks_in_the_manifest_are_others_in_the_domain() -> None:
    change = {"data": {"log_domain": {"nodes": 4, "disk": "50GiB", "instance": "m7g.large.search"}}}
    domain = only(data("agent-gateways", "prod", change), DOMAIN)["Properties"]
    assert domain["ClusterConfig"]["InstanceCount"] == 4
    assert domain["ClusterConfig"]["InstanceType"] == "m7g.large.search"
    assert domain["EBSOptions"]["VolumeSize"] == 50


@pytest.mark.requirement("DAT-06", "T")
def test_the_domain_grants_one_role_alone_and_speaks_tls() -> None:
    resources = data("agent-gateways", "prod")
    domain = only(resources, DOMAIN)["Properties"]
    rights = domain["AdvancedSecurityOptions"]
    assert (rights["Enabled"], rights["InternalUserDatabaseEnabled"]) == (True, False)
    [statement] = domain["AccessPolicies"]["Statement"]
    admin = rights["MasterUserOptions"]["MasterUserARN"]
    assert statement["Principal"]["AWS"] == admin
    assert resources[admin["Fn::GetAtt"][0]]["Type"] == "AWS::IAM::Role"
    assert domain["DomainEndpointOptions"]["EnforceHTTPS"] is True
    assert domain["EncryptionAtRestOptions"]["Enabled"] is True
    assert domain["NodeToNodeEncryptionOptions"] == {"Enabled": True}


@pytest.mark.parametrize(
    ("nodes", "subnets", "zones"), [(1, 3, 1), (2, 2, 2), (3, 3, 3), (3, 2, 1), (4, 3, 2), (6, 3, 3), (6, 2, 2)]
)
def test_nodes_are_shared_out_evenly(nodes: int, subnets: int, zones: int) -> None:
    assert zones_of(nodes, subnets) == zones
