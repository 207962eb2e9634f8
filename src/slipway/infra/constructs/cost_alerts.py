"""What tells of money: a monthly budget with its shares, and a detector of costs that are unusual."""

import json
from collections.abc import Sequence
from decimal import Decimal

from aws_cdk import aws_budgets, aws_ce
from constructs import Construct


class CostAlerts(Construct):
    """A budget over everything with this environment's tags, and an anomaly monitor over the same."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        tags: tuple[str, str],
        per_month_usd: Decimal | None,
        alert_at_percent: Sequence[Decimal],
        anomaly_usd: Decimal | None,
        topic_arn: str,
    ) -> None:
        """`tags` are the values of Project and Environment; costs are attributed by them once they are activated."""
        super().__init__(scope, construct_id)
        project, environment = tags
        if per_month_usd is not None:
            aws_budgets.CfnBudget(
                self,
                "Budget",
                budget=aws_budgets.CfnBudget.BudgetDataProperty(
                    budget_name=prefix,
                    budget_type="COST",
                    time_unit="MONTHLY",
                    budget_limit=aws_budgets.CfnBudget.SpendProperty(amount=float(per_month_usd), unit="USD"),
                    cost_filters={"TagKeyValue": [f"user:Project${project}", f"user:Environment${environment}"]},
                ),
                notifications_with_subscribers=[
                    aws_budgets.CfnBudget.NotificationWithSubscribersProperty(
                        notification=aws_budgets.CfnBudget.NotificationProperty(
                            notification_type="ACTUAL",
                            comparison_operator="GREATER_THAN",
                            threshold=float(percent),
                            threshold_type="PERCENTAGE",
                        ),
                        subscribers=[
                            aws_budgets.CfnBudget.SubscriberProperty(subscription_type="SNS", address=topic_arn)
                        ],
                    )
                    for percent in alert_at_percent
                ],
            )
        if anomaly_usd is not None:
            self._anomalies(prefix, environment, anomaly_usd, topic_arn)

    def _anomalies(self, prefix: str, environment: str, anomaly_usd: Decimal, topic_arn: str) -> None:
        monitor = aws_ce.CfnAnomalyMonitor(
            self,
            "Anomalies",
            monitor_name=prefix,
            monitor_type="CUSTOM",
            monitor_specification=_json({"Tags": {"Key": "Environment", "Values": [environment]}}),
        )
        aws_ce.CfnAnomalySubscription(
            self,
            "AnomalySubscription",
            subscription_name=prefix,
            frequency="IMMEDIATE",
            monitor_arn_list=[monitor.attr_monitor_arn],
            subscribers=[aws_ce.CfnAnomalySubscription.SubscriberProperty(type="SNS", address=topic_arn)],
            threshold_expression=_json(
                {
                    "Dimensions": {
                        "Key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
                        "MatchOptions": ["GREATER_THAN_OR_EQUAL"],
                        "Values": [format(anomaly_usd.normalize(), "f")],
                    }
                }
            ),
        )


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
