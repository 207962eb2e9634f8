"""File systems of services: Qdrant's vectors and MindsDB's data, encrypted, each entered as its service's own user."""

import pytest

from tests.infra.data_stacks import data
from tests.infra.synthesis import of_type, only

FILES = "AWS::EFS::FileSystem"
POINT = "AWS::EFS::AccessPoint"


@pytest.mark.requirement("DAT-07", "T")
def test_qdrant_keeps_its_vectors_on_an_encrypted_file_system_of_its_own() -> None:
    resources = data("microservices", "prod")
    files = only(resources, FILES)
    assert files["Properties"]["Encrypted"] is True
    assert files["Properties"]["KmsKeyId"].endswith(":key/files")
    assert files["DeletionPolicy"] == "Retain"
    point = only(resources, POINT)["Properties"]
    assert point["RootDirectory"]["Path"] == "/qdrant"
    assert point["PosixUser"] == {"Uid": "10001", "Gid": "10001"}
    mounts = of_type(resources, "AWS::EFS::MountTarget")
    assert [each["Properties"]["SecurityGroups"] for each in mounts] == [["sg-qdrant-files"]] * 2


@pytest.mark.requirement("DAT-07", "T")
def test_the_user_is_the_services_and_without_a_volume_there_is_no_file_system() -> None:
    changed = data("microservices", "prod", {"services": {"qdrant": {"user": 2000}}})
    assert only(changed, POINT)["Properties"]["PosixUser"] == {"Uid": "2000", "Gid": "2000"}
    gaps = {"recovery": {"accepted_gaps": []}}
    assert of_type(data("microservices", "prod", {"services": {"qdrant": {"volume": None}}, **gaps}), FILES) == []


def test_nobody_mounts_without_tls_or_as_root() -> None:
    policy = only(data("microservices", "prod"), FILES)["Properties"]["FileSystemPolicy"]
    statements = {each["Sid"]: each for each in policy["Statement"]}
    assert {each["Effect"] for each in statements.values()} == {"Deny"}
    assert statements["WithoutTls"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statements["AsRoot"]["Action"] == "elasticfilesystem:ClientRootAccess"


def test_a_disk_of_the_host_is_no_file_system() -> None:
    resources = data("microservices", "prod")
    assert [each["Properties"]["RootDirectory"]["Path"] for each in of_type(resources, POINT)] == ["/qdrant"]
