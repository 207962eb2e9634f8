"""A web ACL: AWS's managed rules, a bound on what one address may ask, and room for prompts.

The core rule set refuses bodies over 8 KiB and bodies that look like markup, paths or addresses. That is what prompts
and documents look like, so these five rules only count, and a rule behind the set refuses what they labelled everywhere
but on the routes that take prompts. The bodies of those are checked by the platform itself, which runs no part of
them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from aws_cdk import Aws, aws_logs, aws_wafv2
from constructs import Construct

from slipway.infra.constructs.retention import keep
from slipway.infra.naming import Names

_CORE: Final = "AWSManagedRulesCommonRuleSet"
_MANAGED: Final = (_CORE, "AWSManagedRulesKnownBadInputsRuleSet", "AWSManagedRulesAmazonIpReputationList")
_LABELS: Final = "awswaf:managed:aws:core-rule-set"
# Names of rules and of the labels that they set (docs.aws.amazon.com/waf, "Core rule set").
_BODY_RULES: Final = {
    "SizeRestrictions_BODY": "SizeRestrictions_Body",
    "CrossSiteScripting_BODY": "CrossSiteScripting_Body",
    "GenericLFI_BODY": "GenericLFI_Body",
    "GenericRFI_BODY": "GenericRFI_Body",
    "EC2MetaDataSSRF_BODY": "EC2MetaDataSSRF_Body",
}
_WINDOW_S: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAclProps:
    """`rate` counts requests of one address in five minutes; `prompt_paths` are beginnings of paths."""

    scope: Literal["REGIONAL", "CLOUDFRONT"]
    metric: str
    rate: int
    prompt_paths: Sequence[str]
    log_days: int


class WebAcl(Construct):
    """The ACL with its log. `arn` is what it is attached by; a distribution names it itself."""

    def __init__(self, scope: Construct, identifier: str, props: WebAclProps) -> None:
        super().__init__(scope, identifier)
        self._props = props
        rules = [self._rate(), *(self._managed(name) for name in _MANAGED), self._bodies()]
        self.resource = aws_wafv2.CfnWebACL(
            self,
            "Acl",
            scope=props.scope,
            default_action={"allow": {}},
            visibility_config=self._visible("All"),
            rules=[{"priority": place, **rule} for place, rule in enumerate(rules)],
        )
        self.arn = self.resource.attr_arn
        # WAF takes no log group whose name begins otherwise.
        log = aws_logs.CfnLogGroup(
            self,
            "Log",
            log_group_name=f"aws-waf-logs-{props.metric.lower()}",
            retention_in_days=props.log_days,
        )
        keep(log, lasting=False)
        self.log_group_name = f"aws-waf-logs-{props.metric.lower()}"
        logging = aws_wafv2.CfnLoggingConfiguration(
            self,
            "Logging",
            resource_arn=self.arn,
            log_destination_configs=[
                f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:log-group:{self.log_group_name}"
            ],
            redacted_fields=[{"singleHeader": {"Name": name}} for name in ("authorization", "cookie", "x-api-key")],
            logging_filter={
                "DefaultBehavior": "DROP",
                "Filters": [
                    {
                        "Behavior": "KEEP",
                        "Requirement": "MEETS_ANY",
                        "Conditions": [
                            {"ActionCondition": {"Action": "BLOCK"}},
                            {"ActionCondition": {"Action": "COUNT"}},
                        ],
                    }
                ],
            },
        )
        logging.add_resource_dependency(log)

    def attach(self, identifier: str, resource_arn: str) -> aws_wafv2.CfnWebACLAssociation:
        """Puts the ACL in front of a stage or a load balancer of its region."""
        return aws_wafv2.CfnWebACLAssociation(self, identifier, resource_arn=resource_arn, web_acl_arn=self.arn)

    def _rate(self) -> dict[str, Any]:
        statement = {
            "rateBasedStatement": {
                "limit": self._props.rate,
                "evaluationWindowSec": _WINDOW_S,
                "aggregateKeyType": "IP",
            }
        }
        return {
            "name": "Rate",
            "action": {"block": {"customResponse": {"responseCode": 429}}},
            "statement": statement,
            "visibilityConfig": self._visible("Rate"),
        }

    def _managed(self, name: str) -> dict[str, Any]:
        counted = [{"name": rule, "actionToUse": {"count": {}}} for rule in _BODY_RULES] if name == _CORE else None
        group = {"vendorName": "AWS", "name": name}
        return {
            "name": name,
            "overrideAction": {"none": {}},
            "statement": {
                "managedRuleGroupStatement": group if counted is None else {**group, "ruleActionOverrides": counted}
            },
            "visibilityConfig": self._visible(name),
        }

    def _bodies(self) -> dict[str, Any]:
        labels = [f"{_LABELS}:{label}" for label in _BODY_RULES.values()]
        statement: dict[str, Any] = {
            "orStatement": {
                "statements": [{"labelMatchStatement": {"scope": "LABEL", "key": label}} for label in labels]
            }
        }
        if self._props.prompt_paths:
            others = {"notStatement": {"statement": _begins(self._props.prompt_paths)}}
            statement = {"andStatement": {"statements": [statement, others]}}
        return {
            "name": "BodiesOfOtherRoutes",
            "action": {"block": {}},
            "statement": statement,
            "visibilityConfig": self._visible("BodiesOfOtherRoutes"),
        }

    def _visible(self, name: str) -> dict[str, Any]:
        return {
            "cloudWatchMetricsEnabled": True,
            "metricName": f"{Names.construct(self._props.metric)}{name}",
            # Samples hold whole requests, with what people wrote.
            "sampledRequestsEnabled": False,
        }


def _begins(paths: Sequence[str]) -> dict[str, Any]:
    """A path that begins with one of `paths`, with or without a stage's name before it."""
    return {
        "regexMatchStatement": {
            "regexString": f"^(/[a-z]+)?({'|'.join(re.escape(path) for path in paths)})([/?]|$)",
            "fieldToMatch": {"uriPath": {}},
            # As API Gateway decodes a path before it routes: what is not decoded here would pass as another route.
            "textTransformations": [{"priority": 0, "type": "URL_DECODE"}, {"priority": 1, "type": "NORMALIZE_PATH"}],
        }
    }
