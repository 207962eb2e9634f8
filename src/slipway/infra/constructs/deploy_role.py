"""Who may deploy an environment: a role for GitHub's workflows, without a stored key, and the one of CloudFormation.

Made by the bootstrap stack. A workflow starts a change and nothing else; CloudFormation makes what templates state.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Fn, aws_iam
from constructs import Construct

from slipway.infra.reasons import accept

ISSUER: Final = "token.actions.githubusercontent.com"
# Services whose resources the templates may hold. IAM is apart: it alone could give more rights than these.
_SERVICES: Final = (
    "aoss", "apigateway", "appconfig", "application-autoscaling", "autoscaling", "autoscaling-plans",
    "backup", "backup-storage", "bedrock", "budgets", "ce", "cloudformation", "cloudfront", "cloudtrail", "cloudwatch",
    "codebuild",
    "cognito-identity", "cognito-idp", "dynamodb", "ec2", "ecr", "ecs", "eks", "elasticache", "elasticfilesystem",
    "elasticloadbalancing", "es", "events", "firehose", "guardduty", "kms", "lambda", "logs",
    "rds", "route53", "s3", "s3vectors", "scheduler", "secretsmanager", "servicediscovery", "sns", "sqs", "ssm",
    "ssm-incidents", "states", "synthetics", "wafv2", "xray", "acm",
)  # fmt: skip
# Their API answers in us-east-1 alone, wherever it is called from; requests have that region.
_GLOBAL_HOME: Final = "us-east-1"
_NAME_MOST: Final = 64
_NAME_CUT: Final = 20  # CloudFormation cuts a stack's name in the names that it makes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployRoleProps:
    """`subjects`: the exact `sub` claims of GitHub's tokens that may deploy. `prefix`: what the names of the
    environment's stacks begin with. `boundary_arn` bounds each role that a deploy makes, and both roles here."""

    environment: str
    prefix: str
    provider_arn: str
    subjects: tuple[str, ...]
    regions: tuple[str, ...]
    bucket_arns: tuple[str, ...]
    key_alias: str
    project_arn: str
    repository_arns: tuple[str, ...]
    boundary_arn: str | None = None


def subjects_of(repository: str, environment: str, branch: str, *, preview: bool) -> tuple[str, ...]:
    """Exact subjects, without a wildcard: runs of the branch and of the GitHub environment of the same name.

    A preview is deployed by its pull request; GitHub gives none to one that comes from a fork.
    """
    if preview:
        return (f"repo:{repository}:pull_request",)
    return (f"repo:{repository}:environment:{environment}", f"repo:{repository}:ref:refs/heads/{branch}")


def role_name(prefix: str, purpose: str) -> str:
    """What a role is called: people and workflows find it by its name, which IAM lets have 64 characters."""
    whole = f"{prefix}-{purpose}"
    if len(whole) <= _NAME_MOST:
        return whole
    short = hashlib.sha256(prefix.encode()).hexdigest()[:6]
    return f"{prefix[: _NAME_MOST - len(purpose) - 8].rstrip('-')}-{short}-{purpose}"


class DeployRole(Construct):
    """Both roles of one environment."""

    def __init__(self, scope: Construct, construct_id: str, props: DeployRoleProps) -> None:
        super().__init__(scope, construct_id)
        self.execution = _execution_role(self, props)
        self.resource = aws_iam.CfnRole(
            self,
            "Role",
            role_name=role_name(props.prefix, "deploy"),
            description=f"GitHub's workflows deploy {props.environment} with it.",
            max_session_duration=3600,
            permissions_boundary=props.boundary_arn,
            assume_role_policy_document=_trust(props),
            policies=[_policy("deploy", _deploying(props, self.execution.attr_arn))],
        )
        accept(
            self.resource,
            {
                "ChangeStacks": "The end of a stack's ARN is an id that nobody knows before; its name begins so.",
                "ReadDescriptions": "These calls name no resource: they describe types, templates and quotas.",
                "UseKeys": "The key of bootstrap in each region, told by its alias: its id is made up when it is made.",
                "PutTemplates": "Every deploy has objects of its own below the environment's prefix.",
                "ReadParameters": "All parameters of the one environment, which its templates make.",
            },
        )
        self.arn = self.resource.attr_arn


def _trust(props: DeployRoleProps) -> Mapping[str, Any]:
    condition = {f"{ISSUER}:aud": "sts.amazonaws.com", f"{ISSUER}:sub": list(props.subjects)}
    return _document(
        {
            "Effect": "Allow",
            "Principal": {"Federated": props.provider_arn},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": condition},
        }
    )


def _deploying(props: DeployRoleProps, execution_arn: str) -> list[dict[str, Any]]:
    arn = "arn:${AWS::Partition}:"
    stacks = [
        Fn.sub(f"{arn}cloudformation:{region}:${{AWS::AccountId}}:{kind}/{props.prefix}-*")
        for region in props.regions
        for kind in ("stack", "changeSet")
    ]
    parameters = [
        Fn.sub(f"{arn}ssm:{region}:${{AWS::AccountId}}:parameter/slipway/{props.environment}*")
        for region in props.regions
    ]
    return [
        {
            "Sid": "ChangeStacks",
            "Effect": "Allow",
            "Action": [
                "cloudformation:CancelUpdateStack",
                "cloudformation:ContinueUpdateRollback",
                "cloudformation:CreateChangeSet",
                "cloudformation:DeleteChangeSet",
                "cloudformation:DeleteStack",
                "cloudformation:DescribeChangeSet",
                "cloudformation:DescribeStackEvents",
                "cloudformation:DescribeStackResources",
                "cloudformation:DescribeStacks",
                "cloudformation:ExecuteChangeSet",
                "cloudformation:GetTemplate",
                "cloudformation:ListStackResources",
                "cloudformation:UpdateTerminationProtection",
            ],
            "Resource": stacks,
        },
        {
            "Sid": "ReadDescriptions",
            "Effect": "Allow",
            "Action": [
                "cloudformation:DescribeType",
                "cloudformation:GetTemplateSummary",
                "cloudformation:ValidateTemplate",
                "servicequotas:ListServiceQuotas",
                "sts:GetCallerIdentity",
            ],
            "Resource": "*",
        },
        {
            "Sid": "HandOver",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": execution_arn,
            "Condition": {"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}},
        },
        {
            "Sid": "PutTemplates",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"],
            "Resource": [
                Fn.join("", [bucket, f"/{folder}/*"])
                for bucket in props.bucket_arns
                for folder in (f"templates/{props.environment}", "sources")
            ],
        },
        {
            "Sid": "UseKeys",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": [Fn.sub(f"{arn}kms:{region}:${{AWS::AccountId}}:key/*") for region in props.regions],
            "Condition": {"ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{props.key_alias}"}},
        },
        {
            "Sid": "BuildImages",
            "Effect": "Allow",
            "Action": ["codebuild:BatchGetBuilds", "codebuild:StartBuild"],
            "Resource": props.project_arn,
        },
        {
            "Sid": "ReadImages",
            "Effect": "Allow",
            "Action": ["ecr:DescribeImages", "ecr:DescribeImageScanFindings"],
            "Resource": list(props.repository_arns),
        },
        {
            "Sid": "ReadParameters",
            "Effect": "Allow",
            "Action": ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"],
            "Resource": parameters,
        },
    ]


def _execution_role(scope: Construct, props: DeployRoleProps) -> aws_iam.CfnRole:
    boundary = {} if props.boundary_arn is None else {"iam:PermissionsBoundary": props.boundary_arn}
    role = aws_iam.CfnRole(
        scope,
        "Execution",
        role_name=role_name(props.prefix, "cloudformation"),
        description=f"CloudFormation makes {props.environment} with it.",
        permissions_boundary=props.boundary_arn,
        assume_role_policy_document=_document(
            {
                "Effect": "Allow",
                "Principal": {"Service": "cloudformation.amazonaws.com"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": Fn.ref("AWS::AccountId")}},
            }
        ),
        policies=[_policy("make", _making(props, boundary))],
    )
    accept(
        role,
        {
            "MakeResources": "CloudFormation alone may use it, on behalf of who may deploy, to make, change and remove "
            "whatever the environment's templates hold; their names are made up then. Rights to give rights are apart.",
            "GiveRights": "Roles of this environment only, and never beyond the boundary where the manifest has one.",
            "MakeRoles": "Roles of this environment only: their names begin with that of its stacks.",
            "MakeServiceRoles": "AWS's own roles, one a service, with rights that AWS states.",
        },
    )
    return role


def _making(props: DeployRoleProps, boundary: Mapping[str, str]) -> list[dict[str, Any]]:
    regions = sorted({*props.regions, _GLOBAL_HOME})
    owned = [
        Fn.sub(f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:{kind}/{props.prefix[:_NAME_CUT]}*")
        for kind in ("role", "instance-profile", "policy")
    ]
    with_boundary = {"Condition": {"StringEquals": dict(boundary)}} if boundary else {}
    return [
        {
            "Sid": "MakeResources",
            "Effect": "Allow",
            "Action": [f"{service}:*" for service in _SERVICES],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:RequestedRegion": regions}},
        },
        {
            "Sid": "GiveRights",
            "Effect": "Allow",
            "Action": ["iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"],
            "Resource": owned[0],
            **with_boundary,
        },
        {
            "Sid": "MakeRoles",
            "Effect": "Allow",
            "Action": [
                "iam:AddRoleToInstanceProfile",
                "iam:CreateInstanceProfile",
                "iam:CreatePolicy",
                "iam:CreatePolicyVersion",
                "iam:DeleteInstanceProfile",
                "iam:DeletePolicy",
                "iam:DeletePolicyVersion",
                "iam:DeleteRole",
                "iam:DeleteRolePolicy",
                "iam:DetachRolePolicy",
                "iam:Get*",
                "iam:List*",
                "iam:PassRole",
                "iam:RemoveRoleFromInstanceProfile",
                "iam:TagInstanceProfile",
                "iam:TagPolicy",
                "iam:TagRole",
                "iam:UntagRole",
                "iam:UpdateAssumeRolePolicy",
                "iam:UpdateRole",
                "iam:UpdateRoleDescription",
            ],
            "Resource": owned,
        },
        {
            "Sid": "MakeServiceRoles",
            "Effect": "Allow",
            "Action": "iam:CreateServiceLinkedRole",
            "Resource": Fn.sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:role/aws-service-role/*"),
        },
        {
            # What the role itself was given must not be widened with it.
            "Sid": "NotItself",
            "Effect": "Deny",
            "Action": ["iam:AttachRolePolicy", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy", "iam:DeleteRole"],
            "Resource": [
                Fn.sub(f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/{role_name(props.prefix, name)}")
                for name in ("deploy", "cloudformation")
            ],
        },
        *(
            [
                {
                    "Sid": "KeepBoundary",
                    "Effect": "Deny",
                    "Action": "iam:DeleteRolePermissionsBoundary",
                    "Resource": "*",
                }
            ]
            if boundary
            else []
        ),
    ]


def _policy(name: str, statements: list[dict[str, Any]]) -> aws_iam.CfnRole.PolicyProperty:
    return aws_iam.CfnRole.PolicyProperty(policy_name=name, policy_document=_document(*statements))


def _document(*statements: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
