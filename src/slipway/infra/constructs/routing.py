"""How requests reach a workload: its target groups and the rule of a listener that leads to them.

One rule for each workload, whatever number of routes it has: a blue-green deployment switches one rule.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import aws_elasticloadbalancingv2 as elb
from constructs import Construct

_MOST_VALUES: Final = 5  # values in the conditions of one rule (ELB quotas); a host name is one of them
_MOST_REGEX_LENGTH: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteProps:
    """Routes to one workload. `health` is the path of its probe; without one any answer will do. `host` is the name
    that requests must be for, where several environments share a listener; `twin` makes a second target group."""

    port: int
    routes: Sequence[str]
    health: str | None
    vpc_id: str
    listener_arn: str
    priority: int
    host: str | None = None
    twin: bool = False


class Route(Construct):
    """Target groups of a workload and the rule that leads to them."""

    def __init__(self, scope: Construct, construct_id: str, props: RouteProps) -> None:
        super().__init__(scope, construct_id)
        self.target_group = _target_group(self, "Targets", props)
        self.other_target_group = _target_group(self, "OtherTargets", props) if props.twin else None
        groups = [(self.target_group, 1)]
        if self.other_target_group is not None:
            groups.append((self.other_target_group, 0))
        rule = elb.CfnListenerRule
        self.rule = rule(
            self,
            "Rule",
            listener_arn=props.listener_arn,
            priority=props.priority,
            conditions=_conditions(props),
            actions=[
                rule.ActionProperty(
                    type="forward",
                    forward_config=rule.ForwardConfigProperty(
                        target_groups=[
                            rule.TargetGroupTupleProperty(target_group_arn=group.ref, weight=weight)
                            for group, weight in groups
                        ]
                    ),
                )
            ],
        )

    @property
    def full_name(self) -> str:
        """The target group as metrics name it."""
        return self.target_group.attr_target_group_full_name


def _target_group(scope: Construct, construct_id: str, props: RouteProps) -> elb.CfnTargetGroup:
    return elb.CfnTargetGroup(
        scope,
        construct_id,
        vpc_id=props.vpc_id,
        target_type="ip",
        protocol="HTTP",
        protocol_version="HTTP1",
        port=props.port,
        health_check_enabled=True,
        health_check_protocol="HTTP",
        health_check_path=props.health or "/",
        health_check_interval_seconds=10,
        health_check_timeout_seconds=5,
        healthy_threshold_count=2,
        unhealthy_threshold_count=3,
        matcher=elb.CfnTargetGroup.MatcherProperty(http_code="200" if props.health else "200-499"),
        target_group_attributes=[
            elb.CfnTargetGroup.TargetGroupAttributeProperty(key=key, value=value)
            for key, value in (
                # As long as a task drains: an answer of a model takes its time.
                ("deregistration_delay.timeout_seconds", "30"),
                ("load_balancing.algorithm.type", "least_outstanding_requests"),
            )
        ],
    )


def _conditions(props: RouteProps) -> list[elb.CfnListenerRule.RuleConditionProperty]:
    rule = elb.CfnListenerRule
    made: list[elb.CfnListenerRule.RuleConditionProperty] = []
    if props.host is not None:
        made.append(
            rule.RuleConditionProperty(
                field="host-header", host_header_config=rule.HostHeaderConfigProperty(values=[props.host])
            )
        )
    if len(props.routes) <= _MOST_VALUES - len(made):
        paths = rule.PathPatternConfigProperty(values=list(props.routes))
    else:
        paths = rule.PathPatternConfigProperty(regex_values=list(expressions(props.routes)))
    made.append(rule.RuleConditionProperty(field="path-pattern", path_pattern_config=paths))
    return made


def expressions(routes: Sequence[str]) -> tuple[str, ...]:
    """Routes as regular expressions, as few as their greatest length allows."""
    whole: list[str] = []
    for route in routes:
        written = re.escape(route.removesuffix("*")).replace(r"\-", "-") + (".*" if route.endswith("*") else "")
        joined = f"{whole[-1]}|{written}" if whole else written
        if whole and len(joined) + 4 <= _MOST_REGEX_LENGTH:
            whole[-1] = joined
        else:
            whole.append(written)
    return tuple(f"^({each})$" for each in whole)


def by_precision(routes: Sequence[str]) -> tuple[int, int]:
    """What sorts workloads on a listener: who has the more exact route comes first, and `/*` last."""
    wildcard = any(route.endswith("*") for route in routes)
    return (1 if wildcard else 0, -min(len(route.rstrip("*")) for route in routes))
