"""Which connections the VPC let through and which not, in a log group. Used by the foundation."""

from dataclasses import dataclass
from typing import Final

from aws_cdk import Aws, CfnDeletionPolicy, aws_ec2, aws_iam, aws_logs
from constructs import Construct

from slipway.infra.reasons import accept

_EVERY_S: Final = 60  # the finer of the two intervals that there are: what happened is seen within minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLogsProps:
    """`log_group` is the group's name."""

    vpc_id: str
    log_group: str
    log_days: int
    key_arn: str


class FlowLogs(Construct):
    """All connections, accepted and refused."""

    def __init__(self, scope: Construct, construct_id: str, props: FlowLogsProps) -> None:
        super().__init__(scope, construct_id)
        group = aws_logs.CfnLogGroup(
            self,
            "Group",
            log_group_name=props.log_group,
            retention_in_days=props.log_days,
            kms_key_id=props.key_arn,
        )
        group.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        group.cfn_options.update_replace_policy = CfnDeletionPolicy.DELETE
        aws_ec2.CfnFlowLog(
            self,
            "FlowLog",
            resource_type="VPC",
            resource_id=props.vpc_id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_group_name=group.ref,
            deliver_logs_permission_arn=self._role(props.log_group).attr_arn,
            max_aggregation_interval=_EVERY_S,
        )

    def _role(self, group: str) -> aws_iam.CfnRole:
        place = f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:log-group:{group}"
        source = f"arn:{Aws.PARTITION}:ec2:{Aws.REGION}:{Aws.ACCOUNT_ID}:vpc-flow-log/*"
        role = aws_iam.CfnRole(
            self,
            "Role",
            description="Writes the VPC's flow logs",
            assume_role_policy_document={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "FlowLogsOfThisAccount",
                        "Effect": "Allow",
                        "Principal": {"Service": "vpc-flow-logs.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                        "Condition": {
                            "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                            "ArnLike": {"aws:SourceArn": source},
                        },
                    }
                ],
            },
            policies=[
                aws_iam.CfnRole.PolicyProperty(
                    policy_name="Write",
                    policy_document={
                        "Version": "2012-10-17",
                        "Statement": [
                            {
                                "Sid": "FlowLogsWrite",
                                "Effect": "Allow",
                                "Action": ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
                                "Resource": [place, f"{place}:log-stream:*"],
                            }
                        ],
                    },
                )
            ],
        )
        accept(role, {"FlowLogsWrite": "Flow logs name a stream after each interface; the group is named."})
        return role
