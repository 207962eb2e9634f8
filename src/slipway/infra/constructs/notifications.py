"""Topics by urgency, encrypted, and who is told by each: critical wakes somebody, warning writes, info only collects.

Findings about security go to people of their own. What AWS itself reports (GuardDuty, AWS Backup) is routed here too.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from aws_cdk import Aws, CfnTag, aws_events, aws_kms, aws_sns
from constructs import Construct

from slipway.manifest.sections.monitoring import channel_of

Tier = Literal["critical", "warning", "info", "security"]
TIERS: Final[tuple[Tier, ...]] = ("critical", "warning", "info", "security")
_PROTOCOLS: Final = {"email": "email", "sms": "sms", "pager": "https"}
# Who publishes: alarms, rules, budgets, the detector of unusual costs.
_PUBLISHERS: Final = (
    "budgets.amazonaws.com",
    "cloudwatch.amazonaws.com",
    "costalerts.amazonaws.com",
    "events.amazonaws.com",
)


class Notifications(Construct):
    """One topic a tier with its subscriptions, behind one key that the publishers may use."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        addresses: Mapping[Tier, Sequence[str]],
        pager_secret_prefix: str,
    ) -> None:
        """`addresses` are e-mail, telephone numbers, or names of secrets under `pager_secret_prefix` with a URL."""
        super().__init__(scope, construct_id)
        self.key = aws_kms.CfnKey(
            self,
            "Key",
            description=f"{prefix}: notifications",
            enable_key_rotation=True,
            key_policy=_key_policy(),
        )
        self._topics = {tier: self._topic(prefix, tier) for tier in TIERS}
        for tier in TIERS:
            for index, address in enumerate(addresses.get(tier, ())):
                channel = channel_of(address)
                name = f"{pager_secret_prefix}/{address}"
                aws_sns.CfnSubscription(
                    self,
                    f"{tier.title()}{index}",
                    topic_arn=self.arn(tier),
                    protocol=_PROTOCOLS[channel],
                    endpoint=f"{{{{resolve:secretsmanager:{name}}}}}" if channel == "pager" else address,
                )

    def arn(self, tier: Tier) -> str:
        """The topic of a tier."""
        return self._topics[tier].ref

    def route(self, construct_id: str, tier: Tier, *, description: str, pattern: Mapping[str, object]) -> None:
        """Sends events of the account that match `pattern` to a tier."""
        aws_events.CfnRule(
            self,
            construct_id,
            description=description,
            event_pattern=pattern,
            targets=[aws_events.CfnRule.TargetProperty(id="topic", arn=self.arn(tier))],
        )

    def _topic(self, prefix: str, tier: Tier) -> aws_sns.CfnTopic:
        topic = aws_sns.CfnTopic(
            self,
            tier.title(),
            display_name=f"{prefix} {tier}",
            kms_master_key_id=self.key.attr_arn,
            tags=[CfnTag(key="Tier", value=tier)],
        )
        aws_sns.CfnTopicPolicy(
            self,
            f"{tier.title()}Policy",
            topics=[topic.ref],
            policy_document={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "PublishersOfThisAccount",
                        "Effect": "Allow",
                        "Principal": {"Service": list(_PUBLISHERS)},
                        "Action": "sns:Publish",
                        "Resource": topic.ref,
                        "Condition": {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
                    },
                    {
                        "Sid": "OnlyOverTls",
                        "Effect": "Deny",
                        "Principal": "*",
                        "Action": "sns:Publish",
                        "Resource": topic.ref,
                        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                    },
                ],
            },
        )
        return topic


def _key_policy() -> dict[str, object]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AdministeredByIam",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:root"},
                "Action": "kms:*",
                "Resource": "*",
            },
            {
                "Sid": "PublishersOfThisAccount",
                "Effect": "Allow",
                "Principal": {"Service": list(_PUBLISHERS)},
                "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
                "Resource": "*",
                "Condition": {"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            },
        ],
    }
