"""The bootstrap stack: who may deploy, where images and templates are, and how images are built without an engine."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from slipway.base.errors import Misconfigured
from slipway.infra.app import StackTemplate
from slipway.infra.bootstrap import synthesize_bootstrap, synthesize_bootstrap_trees
from slipway.infra.checks import check, refused
from slipway.infra.constructs.deploy_role import ISSUER, role_name
from tests.infra.alterations import seen_stack
from tests.infra.synthesis import assembly, manifest_of, only

ENVIRONMENTS = ("dev", "prod")
GITHUB = {"delivery": {"github": "acme/platform", "branch": "release", "images_kept": 12, "boundary": "Developers"}}


def bootstrap(
    blueprint: str, changes: Mapping[str, Any], environments: tuple[str, ...] = ENVIRONMENTS
) -> tuple[StackTemplate, ...]:
    return tuple(seen_stack(each) for each in _synthesized(blueprint, json.dumps(changes), environments))


@cache
def _synthesized(blueprint: str, changes: str, environments: tuple[str, ...]) -> tuple[StackTemplate, ...]:
    return synthesize_bootstrap({name: manifest_of(blueprint, name, json.loads(changes)) for name in environments})


def rag() -> tuple[StackTemplate, ...]:
    return bootstrap("rag-assistant", GITHUB)


def home() -> StackTemplate:
    return rag()[0]


def named(stack: StackTemplate, kind: str, key: str, value: str) -> Mapping[str, Any]:
    [found] = [each for each in stack.resources(kind).values() if each["Properties"].get(key) == value]
    return found


def statements(role: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    document = role["Properties"]["Policies"][0]["PolicyDocument"]
    return {each["Sid"]: each for each in document["Statement"]}


def test_each_region_has_bucket_and_images_and_only_the_first_has_rights():
    first, second = rag()
    assert (first.region, second.region) == ("us-east-1", "us-west-2")
    for stack in rag():
        assert len(stack.resources("AWS::S3::Bucket")) == len(stack.resources("AWS::KMS::Key")) == 1
        assert stack.resources("AWS::ECR::Repository")
    assert not second.resources("AWS::IAM::Role") and not second.resources("AWS::CodeBuild::Project")


def test_templates_are_private_versioned_encrypted_and_sent_by_tls_alone():
    bucket = only(home().resources(), "AWS::S3::Bucket")
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    properties = bucket["Properties"]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    [rule] = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    policy = only(home().resources(), "AWS::S3::BucketPolicy")["Properties"]["PolicyDocument"]["Statement"]
    assert [(each["Effect"], each["Condition"]) for each in policy] == [
        ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    ]
    days = {rule["Id"]: rule for rule in properties["LifecycleConfiguration"]["Rules"]}
    assert days["old-versions"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 90
    assert days["sources"]["ExpirationInDays"] == 30


@pytest.mark.requirement("CMP-09", "T")
@pytest.mark.parametrize("kept", [12, 7])
def test_images_keep_their_tags_are_scanned_encrypted_and_the_newest_stay(kept: int):
    """CMP-09's numbers: the mutation of `images_kept` moves the rule's."""
    stacks = (
        rag() if kept == 12 else bootstrap("rag-assistant", {"delivery": {**GITHUB["delivery"], "images_kept": kept}})
    )
    for stack in stacks:
        repository = only(stack.resources(), "AWS::ECR::Repository")
        properties = repository["Properties"]
        assert properties["ImageTagMutability"] == "IMMUTABLE"
        assert properties["ImageScanningConfiguration"] == {"ScanOnPush": True}
        assert properties["EncryptionConfiguration"]["EncryptionType"] == "KMS"
        rules = json.loads(properties["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
        assert [(rule["selection"]["tagStatus"], rule["selection"]["countNumber"]) for rule in rules] == [
            ("untagged", 1),
            ("any", kept),
        ]
        assert repository["DeletionPolicy"] == "Retain"


def test_services_that_are_built_have_repositories_of_their_own():
    [stack] = bootstrap("microservices", {"recovery": {"region": None}}, ("prod",))
    names = {each["Properties"]["RepositoryName"] for each in stack.resources("AWS::ECR::Repository").values()}
    built = {
        name for name, service in manifest_of("microservices", "prod").services.items() if service.image.startswith(".")
    }
    assert built and names == {"microservices/platform", *(f"microservices/{name}" for name in built)}


@pytest.mark.requirement("SEC-06", "T")
@pytest.mark.parametrize("branch", ["release", "main"])
def test_github_deploys_only_from_the_stated_repository_branch_and_environment(branch: str):
    changes = {"delivery": {**GITHUB["delivery"], "branch": branch}}
    stack = home() if branch == "release" else bootstrap("rag-assistant", changes)[0]
    trust = named(stack, "AWS::IAM::Role", "RoleName", "rag-assistant-prod-deploy")["Properties"]
    [statement] = trust["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Condition"] == {
        "StringEquals": {
            f"{ISSUER}:aud": "sts.amazonaws.com",
            f"{ISSUER}:sub": [
                "repo:acme/platform:environment:prod",
                f"repo:acme/platform:ref:refs/heads/{branch}",
            ],
        }
    }
    assert only(stack.resources(), "AWS::IAM::OIDCProvider")["Properties"]["ClientIdList"] == ["sts.amazonaws.com"]


def test_a_preview_is_deployed_by_pull_requests_and_an_existing_provider_is_taken():
    arn = f"arn:aws:iam::123456789012:oidc-provider/{ISSUER}"
    [stack] = bootstrap(
        "preview-fargate",
        {"delivery": {"github": "acme/api", "oidc_provider": arn}, "recovery": {"region": None}},
        ("preview",),
    )
    [statement] = named(stack, "AWS::IAM::Role", "RoleName", "preview-fargate-preview-deploy")["Properties"][
        "AssumeRolePolicyDocument"
    ]["Statement"]
    assert statement["Principal"] == {"Federated": arn}
    assert statement["Condition"]["StringEquals"][f"{ISSUER}:sub"] == ["repo:acme/api:pull_request"]
    assert not stack.resources("AWS::IAM::OIDCProvider")


@pytest.mark.requirement("USR-02", "T")
def test_the_boundary_bounds_every_role_that_is_here_or_that_a_deploy_makes():
    boundary = {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:policy/Developers"}
    roles = home().resources("AWS::IAM::Role").values()
    assert [json.dumps(role["Properties"]["PermissionsBoundary"]).count(":policy/Developers") for role in roles] == [
        1
    ] * 5
    rights = statements(named(home(), "AWS::IAM::Role", "RoleName", "rag-assistant-prod-cloudformation"))
    assert rights["GiveRights"]["Condition"] == {"StringEquals": {"iam:PermissionsBoundary": boundary}}
    assert "iam:CreateRole" in rights["GiveRights"]["Action"]
    assert (rights["KeepBoundary"]["Effect"], rights["KeepBoundary"]["Action"]) == (
        "Deny",
        "iam:DeleteRolePermissionsBoundary",
    )


def test_without_a_boundary_there_is_none():
    [stack] = bootstrap("rag-assistant", {"delivery": {"github": "acme/p"}, "recovery": {"region": None}}, ("dev",))
    assert not any("PermissionsBoundary" in role["Properties"] for role in stack.resources("AWS::IAM::Role").values())
    assert "KeepBoundary" not in stack.text


def test_a_workflow_hands_over_one_role_and_changes_stacks_of_its_environment_alone():
    rights = statements(named(home(), "AWS::IAM::Role", "RoleName", "rag-assistant-dev-deploy"))
    [execution] = [
        name
        for name, role in home().resources("AWS::IAM::Role").items()
        if role["Properties"].get("RoleName") == "rag-assistant-dev-cloudformation"
    ]
    assert rights["HandOver"]["Resource"] == {"Fn::GetAtt": [execution, "Arn"]}
    for arn in rights["ChangeStacks"]["Resource"]:
        assert "/rag-assistant-dev-*" in arn["Fn::Sub"]
    wildcards = {sid for sid, each in rights.items() if each["Resource"] == "*"}
    assert wildcards == {"ReadDescriptions"}
    assert not any(
        action.endswith("*") for each in rights.values() for action in [each["Action"]] if "*" in str(action)
    )


@pytest.mark.requirement("USR-05", "T")
def test_images_are_built_from_the_bucket_pushed_to_each_region_and_told_by_digest():
    project = only(home().resources(), "AWS::CodeBuild::Project")["Properties"]
    bucket = next(iter(home().resources("AWS::S3::Bucket")))
    assert project["Source"]["Type"] == "S3"
    assert project["Source"]["Location"] == {"Fn::Join": ["/", [{"Ref": bucket}, "sources/platform.zip"]]}
    spec = json.loads(project["Source"]["BuildSpec"])
    assert spec["env"]["exported-variables"] == ["IMAGE_DIGEST"]
    pushes = [line for line in spec["phases"]["post_build"]["commands"] if line.startswith("docker push")]
    assert [line.split(".")[3] for line in pushes] == ["us-east-1", "us-west-2"]
    assert "[0-9a-f]{7,40}-[0-9]{14}" in spec["phases"]["pre_build"]["commands"][0]
    role = next(role for name, role in home().resources("AWS::IAM::Role").items() if name.startswith("BuilderRole"))
    rights = statements(role)
    assert [sid for sid, each in rights.items() if each["Resource"] == "*"] == ["SignIn"]
    assert len(rights["Push"]["Resource"]) == 2  # one repository in each of two regions
    assert set(role["Metadata"]["slipway:reasons"]) >= {"SignIn"}


def test_another_recovery_region_moves_the_second_push():
    stacks = bootstrap("rag-assistant", {"recovery": {"region": "eu-west-1"}}, ("prod",))
    spec = json.loads(only(stacks[0].resources(), "AWS::CodeBuild::Project")["Properties"]["Source"]["BuildSpec"])
    assert ".eu-west-1." in spec["phases"]["post_build"]["commands"][-3]
    assert [stack.region for stack in stacks] == ["us-east-1", "eu-west-1"]


def test_accounts_are_not_mixed_and_bytes_do_not_change():
    with pytest.raises(Misconfigured, match="one account"):
        synthesize_bootstrap(
            {
                "dev": manifest_of("rag-assistant", "dev", {"delivery": {"account": "123456789012"}}),
                "prod": manifest_of("rag-assistant", "prod", {"delivery": {"account": "210987654321"}}),
            }
        )
    again = bootstrap("rag-assistant", GITHUB)
    assert [stack.text for stack in again] == [stack.text for stack in rag()]


# How IAM calls what CloudFormation calls otherwise.
PREFIXES = {
    "apigatewayv2": "apigateway",
    "applicationautoscaling": "application-autoscaling",
    "certificatemanager": "acm",
    "efs": "elasticfilesystem",
    "elasticloadbalancingv2": "elasticloadbalancing",
    "neptune": "rds",
    "opensearchserverless": "aoss",
    "opensearchservice": "es",
    "stepfunctions": "states",
}


@pytest.mark.parametrize(
    "blueprint", ["rag-assistant", "microservices", "agent-gateways", "mcp-hybrid", "preview-fargate"]
)
def test_cloudformation_may_make_every_type_of_the_templates(blueprint: str):
    rights = statements(named(home(), "AWS::IAM::Role", "RoleName", "rag-assistant-prod-cloudformation"))
    allowed = {action.removesuffix(":*") for action in rights["MakeResources"]["Action"]}
    kinds = {resource["Type"].split("::")[1].lower() for resource in assembly(blueprint, "prod").resources().values()}
    kinds = {PREFIXES.get(kind, kind) for kind in kinds} | {"cognito-idp" for kind in kinds if kind == "cognito"}
    assert kinds - allowed - {"iam", "cognito"} == set()


def test_long_names_stay_within_iams_bounds_and_apart():
    one, two = "a" * 60 + "-prod", "a" * 60 + "-dev"
    assert len(role_name(one, "cloudformation")) <= 64
    assert role_name(one, "deploy") != role_name(two, "deploy")
    assert role_name("rag-assistant-prod", "deploy") == "rag-assistant-prod-deploy"


def test_the_gates_find_nothing_that_has_no_reason():
    manifests = {name: manifest_of("rag-assistant", name, GITHUB) for name in ENVIRONMENTS}
    for synthesis in synthesize_bootstrap_trees(manifests):
        assert refused(check(synthesis)) == ()
