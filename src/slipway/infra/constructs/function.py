"""Lambda functions: all from the one platform image, in private subnets, each with a role of its own.

Stacks make one `FunctionHome` and add functions to it. What a function may do comes as statements; what every function
needs (its log, traces, its place in the network, the queue for events that it could not handle) is added here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aws_cdk import Aws, aws_iam, aws_lambda, aws_logs, aws_sqs
from constructs import Construct

from slipway.infra.constructs.grants import Statement, accepted
from slipway.infra.constructs.image_repository import repository_name
from slipway.infra.constructs.retention import keep
from slipway.infra.reasons import accept

HANDLERS: Final = ("pre_token", "failover", "readiness", "canary", "first_response", "dependencies")
_ENTRY: Final = ("python", "-m", "slipway.functions")
_QUEUE_KEEPS_S: Final = 14 * 24 * 3600  # the longest that SQS keeps a message: somebody has to see it after a holiday


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionPlace:
    """Where functions run: the image by digest, subnets and security groups, how long logs are kept."""

    image_uri: str
    subnet_ids: Sequence[str]
    security_group_ids: Sequence[str]
    log_prefix: str
    log_days: int
    tracing: bool = True
    log_key_arn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionProps:
    """One function: which entry point of `slipway.functions`, its size and limits, what it may do.

    `reserved` is how many of it run at once; None shares what the account has with all others. `retries` is how often
    an event that failed comes again before it goes to the queue; it matters only for callers that do not wait.
    """

    handler: str
    memory_mib: int
    timeout_s: int
    statements: Sequence[Statement] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    reserved: int | None = None
    retries: int = 2

    def __post_init__(self) -> None:
        if self.handler not in HANDLERS:
            raise ValueError(f"slipway.functions has no entry point {self.handler!r}")
        if not 512 <= self.memory_mib <= 1024:
            raise ValueError(f"{self.memory_mib} MiB: a function has 512 to 1024")
        if not 30 <= self.timeout_s <= 900:
            raise ValueError(f"{self.timeout_s} s: a function has 30 s to 15 min")


def platform_image(platform: str, digest: str) -> str:
    """The platform's image in this account and region, by digest."""
    registry = f"{Aws.ACCOUNT_ID}.dkr.ecr.{Aws.REGION}.{Aws.URL_SUFFIX}"
    return f"{registry}/{repository_name(platform)}@{digest}"


class FunctionHome(Construct):
    """What the functions of one stack share: their place, and the queue for events that none could handle."""

    def __init__(self, scope: Construct, identifier: str, place: FunctionPlace) -> None:
        super().__init__(scope, identifier)
        self.place = place
        self.failures = aws_sqs.CfnQueue(
            self, "Failures", sqs_managed_sse_enabled=True, message_retention_period=_QUEUE_KEEPS_S
        )
        keep(self.failures, lasting=False)
        accept(self.failures, {"AwsSolutions-SQS3": "It is itself where undelivered events of the functions end."})
        aws_sqs.CfnQueuePolicy(
            self, "FailuresPolicy", queues=[self.failures.ref], policy_document=_encrypted_only(self.failures.attr_arn)
        )

    def add(self, identifier: str, props: FunctionProps) -> "Function":
        """A function of this home."""
        return Function(self, identifier, home=self, props=props)


class Function(Construct):
    """A function with its role and log. `arn` and `name` are for those who call it."""

    def __init__(self, scope: Construct, identifier: str, *, home: FunctionHome, props: FunctionProps) -> None:
        super().__init__(scope, identifier)
        place = home.place
        self.log = aws_logs.CfnLogGroup(
            self,
            "Log",
            log_group_name=f"{place.log_prefix}/{props.handler.replace('_', '-')}",
            retention_in_days=place.log_days,
            kms_key_id=place.log_key_arn,
        )
        keep(self.log, lasting=False)
        self.role = self._role(home, props)
        self.resource = aws_lambda.CfnFunction(
            self,
            "Function",
            code={"imageUri": place.image_uri},
            package_type="Image",
            image_config={"entryPoint": list(_ENTRY), "command": [f"slipway.functions.{props.handler}.handler"]},
            role=self.role.attr_arn,
            memory_size=props.memory_mib,
            timeout=props.timeout_s,
            reserved_concurrent_executions=props.reserved,
            environment={"variables": dict(sorted(props.environment.items()))} if props.environment else None,
            dead_letter_config={"targetArn": home.failures.attr_arn},
            logging_config={"logFormat": "JSON", "logGroup": self.log.ref},
            tracing_config={"mode": "Active" if place.tracing else "PassThrough"},
            vpc_config={"subnetIds": list(place.subnet_ids), "securityGroupIds": list(place.security_group_ids)},
            architectures=["x86_64"],
        )
        aws_lambda.CfnEventInvokeConfig(
            self,
            "Events",
            function_name=self.resource.ref,
            qualifier="$LATEST",
            maximum_retry_attempts=props.retries,
            maximum_event_age_in_seconds=3600,
        )
        self.arn = self.resource.attr_arn
        self.name = self.resource.ref

    def called_by(self, identifier: str, service: str, source_arn: str) -> aws_lambda.CfnPermission:
        """Lets a service call this function for one resource of this account."""
        return aws_lambda.CfnPermission(
            self,
            identifier,
            action="lambda:InvokeFunction",
            function_name=self.arn,
            principal=service,
            source_arn=source_arn,
            source_account=Aws.ACCOUNT_ID,
        )

    def _role(self, home: FunctionHome, props: FunctionProps) -> aws_iam.CfnRole:
        statements = (*_always(home, self.log.attr_arn), *props.statements)
        role = aws_iam.CfnRole(
            self,
            "Role",
            assume_role_policy_document=_document(
                {
                    "Sid": "Take",
                    "Effect": "Allow",
                    "Principal": {"Service": "lambda.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                }
            ),
            policies=[
                {
                    "policyName": "function",
                    "policyDocument": _document(*(each.document() for each in statements), _NOT_BY_THE_CODE),
                }
            ],
        )
        accept(role, {**accepted(statements), "NotByTheCode": "A denial."})
        return role


def _always(home: FunctionHome, log_arn: str) -> tuple[Statement, ...]:
    """What Lambda itself does in the function's name."""
    traces = Statement(
        "Traces",
        ("xray:PutTelemetryRecords", "xray:PutTraceSegments"),
        ("*",),
        reason="X-Ray has no resources that a policy could name.",
    )
    return (
        Statement(
            "Log",
            ("logs:CreateLogStream", "logs:PutLogEvents"),
            (log_arn,),
            reason="The streams of this function's own log group, whose names Lambda chooses.",
        ),
        Statement(
            "NetworkInterfaces",
            _INTERFACES,
            ("*",),
            reason="Lambda makes the interfaces in the subnets, before they have an ARN; the code itself is denied it.",
        ),
        Statement("Undelivered", ("sqs:SendMessage",), (home.failures.attr_arn,)),
        *((traces,) if home.place.tracing else ()),
    )


_INTERFACES: Final = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)
# The role serves both Lambda and the code; only calls of the code carry the function's ARN.
_NOT_BY_THE_CODE: Final = {
    "Sid": "NotByTheCode",
    "Effect": "Deny",
    "Action": list(_INTERFACES),
    "Resource": "*",
    "Condition": {"Null": {"lambda:SourceFunctionArn": "false"}},
}


def _document(*statements: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [dict(statement) for statement in statements]}


def _encrypted_only(queue_arn: str) -> dict[str, Any]:
    return _document(
        {
            "Sid": "EncryptedOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": queue_arn,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )
