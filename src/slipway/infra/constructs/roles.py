"""Roles of tasks and instances: who may take them, and policies made of statements of `grants`."""

from collections.abc import Sequence
from typing import Any

from aws_cdk import Aws, aws_iam
from constructs import Construct

from slipway.infra.constructs.grants import Statement, accepted
from slipway.infra.reasons import accept


def role(
    scope: Construct,
    construct_id: str,
    *,
    service: str,
    description: str,
    statements: Sequence[Statement],
    conditions: dict[str, dict[str, str]] | None = None,
) -> aws_iam.CfnRole:
    """A role that one AWS service may take, with nothing but `statements`."""
    made = aws_iam.CfnRole(
        scope,
        construct_id,
        description=description,
        assume_role_policy_document={
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "Take",
                    "Effect": "Allow",
                    "Principal": {"Service": service},
                    "Action": "sts:AssumeRole",
                    **({"Condition": conditions} if conditions else {}),
                }
            ],
        },
        policies=[aws_iam.CfnRole.PolicyProperty(policy_name="Needs", policy_document=_document(statements))]
        if statements
        else None,
    )
    reasons = accepted(statements)
    if reasons:
        accept(made, reasons)
    return made


def task_role(
    scope: Construct, construct_id: str, *, description: str, statements: Sequence[Statement]
) -> aws_iam.CfnRole:
    """A role for tasks of this account's ECS, and for nobody who makes ECS act from another account."""
    return role(
        scope,
        construct_id,
        service="ecs-tasks.amazonaws.com",
        description=description,
        statements=statements,
        conditions={
            "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
            "ArnLike": {"aws:SourceArn": f"arn:{Aws.PARTITION}:ecs:{Aws.REGION}:{Aws.ACCOUNT_ID}:*"},
        },
    )


def _document(statements: Sequence[Statement]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [statement.document() for statement in statements]}
