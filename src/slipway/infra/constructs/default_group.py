"""The default security group of a VPC, without any rule: whatever is put into it by mistake reaches nobody.

AWS makes the group with the VPC and lets all in it speak to each other; CloudFormation cannot say otherwise. An
association of Systems Manager runs AWS's own runbook that empties it, when the stack is made and each day after.
Nothing of Slipway is ever in that group. Used by the foundation.
"""

from typing import Final

from aws_cdk import Aws, aws_iam, aws_ssm
from constructs import Construct

from slipway.infra.constructs.grants import Statement
from slipway.infra.constructs.roles import role

# Its parameters are GroupId and AutomationAssumeRole (Systems Manager, Automation runbook reference).
RUNBOOK: Final = "AWSConfigRemediation-RemoveVPCDefaultSecurityGroupRules"


class DefaultGroup(Construct):
    """Empties one group."""

    def __init__(self, scope: Construct, construct_id: str, *, group_id: str, name: str) -> None:
        super().__init__(scope, construct_id)
        made = self._role(group_id)
        aws_ssm.CfnAssociation(
            self,
            "Association",
            name=RUNBOOK,
            association_name=name,
            parameters={"GroupId": [group_id], "AutomationAssumeRole": [made.attr_arn]},
            schedule_expression="rate(1 day)",
            apply_only_at_cron_interval=False,  # also at once
            compliance_severity="HIGH",
        )

    def _role(self, group_id: str) -> aws_iam.CfnRole:
        place = f"{Aws.REGION}:{Aws.ACCOUNT_ID}"
        runs = f"arn:{Aws.PARTITION}:ssm:{place}:automation-execution/*"
        return role(
            self,
            "Role",
            service="ssm.amazonaws.com",
            description="Empties the default security group of the VPC",
            statements=[
                Statement(
                    "EmptyTheGroup",
                    ("ec2:RevokeSecurityGroupIngress", "ec2:RevokeSecurityGroupEgress"),
                    (f"arn:{Aws.PARTITION}:ec2:{place}:security-group/{group_id}",),
                ),
                Statement(
                    "LookAtGroups",
                    ("ec2:DescribeSecurityGroups",),
                    ("*",),
                    reason="EC2 has no narrower right to describe security groups.",
                ),
                Statement(
                    "RunTheRunbook",
                    ("ssm:StartAutomationExecution",),
                    tuple(
                        f"arn:{Aws.PARTITION}:ssm:{Aws.REGION}:{owner}:automation-definition/{RUNBOOK}:*"
                        for owner in ("", Aws.ACCOUNT_ID)
                    ),
                    reason="The wildcard stands for the runbook's version.",
                ),
                Statement(
                    "FollowTheRunbook",
                    ("ssm:GetAutomationExecution",),
                    (runs,),
                    reason="An execution gets its id when it starts.",
                ),
            ],
            conditions={
                "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                "ArnLike": {"aws:SourceArn": runs},
            },
        )
