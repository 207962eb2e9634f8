"""The role with which RDS writes what it samples of an instance's system to CloudWatch (Enhanced Monitoring)."""

from aws_cdk import Aws, Fn, aws_iam
from constructs import Construct

from slipway.infra.reasons import accept


class MonitoringRole(Construct):
    """It may write to the one log group that RDS uses, and nothing else."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        group = Fn.join(":", ["arn", Aws.PARTITION, "logs", Aws.REGION, Aws.ACCOUNT_ID, "log-group", "RDSOSMetrics"])
        role = aws_iam.CfnRole(
            self,
            "Role",
            description="RDS writes samples of its instances' systems",
            assume_role_policy_document={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "Rds",
                        "Effect": "Allow",
                        "Principal": {"Service": "monitoring.rds.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                        "Condition": {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
                    }
                ],
            },
            policies=[
                aws_iam.CfnRole.PolicyProperty(
                    policy_name="samples",
                    policy_document={
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Sid": "Group",
                                "Effect": "Allow",
                                "Action": ["logs:CreateLogGroup", "logs:PutRetentionPolicy"],
                                "Resource": [f"{group}:*"],
                            },
                            {
                                "Sid": "Streams",
                                "Effect": "Allow",
                                "Action": [
                                    "logs:CreateLogStream",
                                    "logs:DescribeLogStreams",
                                    "logs:GetLogEvents",
                                    "logs:PutLogEvents",
                                ],
                                "Resource": [f"{group}:log-stream:*"],
                            },
                        ],
                    },
                )
            ],
        )
        accept(
            role,
            {
                "Group": "The wildcard is how IAM names a log group itself.",
                "Streams": "RDS names the streams of its one group after instances that do not exist yet.",
            },
        )
        self.arn = role.attr_arn
