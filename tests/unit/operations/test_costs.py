"""The estimate over small templates: what is charged, what is idle, what has no price."""

from decimal import Decimal
from typing import Any

import pytest

from slipway.manifest.sections.placement import Schedule
from slipway.operations.costs import RULES, Amounts, estimate
from slipway.operations.plan import running_share
from slipway.operations.prices import table
from slipway.operations.references import StackState


def stack(region: str = "us-east-1", **resources: dict[str, Any]) -> StackState:
    return StackState(part="p", name="site-p", region=region, template={"Resources": resources})


def of(kind: str, **properties: Any) -> dict[str, Any]:
    return {"Type": kind, "Properties": properties}


SERVICE = {
    "Task": of("AWS::ECS::TaskDefinition", Cpu="1024", Memory="2048"),
    "Service": of("AWS::ECS::Service", LaunchType="FARGATE", TaskDefinition={"Ref": "Task"}, DesiredCount=2),
}
TARGET = of(
    "AWS::ApplicationAutoScaling::ScalableTarget",
    MinCapacity=2,
    MaxCapacity=10,
    ResourceId={"Fn::Join": ["/", ["service", "c", {"Fn::GetAtt": ["Service", "Name"]}]]},
)


def usd(amount: str) -> int:
    return int(Decimal(amount) * 1_000_000)


def test_a_fixed_service_costs_the_same_idle_and_busy():
    total = estimate([stack(**SERVICE)], production=True).total
    hourly = 2 * (Decimal("0.04048") + 2 * Decimal("0.004445"))
    assert total.floor == total.high == int(hourly * 730 * 1_000_000)


def test_a_scaled_service_lies_between_its_least_and_its_most():
    total = estimate([stack(**SERVICE, Target=TARGET)], production=True).total
    assert total.floor < total.expected < total.high
    assert total.high == 5 * total.floor
    assert total.low == total.floor


def test_twice_the_tasks_cost_twice():
    twice = {**SERVICE, "Service": of("AWS::ECS::Service", **{**SERVICE["Service"]["Properties"], "DesiredCount": 4})}
    once = estimate([stack(**SERVICE)], production=True).total
    assert estimate([stack(**twice)], production=True).total.expected == 2 * once.expected


def test_spot_and_a_schedule_cost_less():
    spot = {"CapacityProviderStrategy": [{"CapacityProvider": "FARGATE_SPOT", "Weight": 1}]}
    service = {key: value for key, value in SERVICE["Service"]["Properties"].items() if key != "LaunchType"}
    on_spot = {**SERVICE, "Service": of("AWS::ECS::Service", **service, **spot)}
    plain = estimate([stack(**SERVICE)], production=True).total.expected
    assert 0 < estimate([stack(**on_spot)], production=True).total.expected < plain
    half = estimate([stack(**SERVICE)], production=True, running=Decimal("0.5")).total.expected
    assert half == plain // 2


def test_tasks_on_instances_are_charged_as_instances():
    resources = {
        "Task": of("AWS::ECS::TaskDefinition", Cpu="512"),
        "Service": of("AWS::ECS::Service", TaskDefinition={"Ref": "Task"}, LaunchType="EC2"),
        "Template": of("AWS::EC2::LaunchTemplate", LaunchTemplateData={"InstanceType": "t3.medium"}),
        "Group": of(
            "AWS::AutoScaling::AutoScalingGroup",
            MinSize="1",
            MaxSize="5",
            LaunchTemplate={"LaunchTemplateId": {"Ref": "Template"}},
        ),
    }
    costs = estimate([stack(**resources)], production=True)
    assert {line.kind for line in costs.lines} == {"AWS::AutoScaling::AutoScalingGroup"}
    assert costs.total.floor == usd("30.368")  # 730 hours of one t3.medium
    assert costs.total.high == 5 * costs.total.floor


@pytest.mark.parametrize(("least", "most"), [(0.5, 4), (1, 16)])
def test_aurora_is_charged_by_its_capacity_units(least: float, most: float):
    capacity = {"MinCapacity": least, "MaxCapacity": most}
    resources = {
        "Cluster": of("AWS::RDS::DBCluster", ServerlessV2ScalingConfiguration=capacity),
        "Instance": of("AWS::RDS::DBInstance", DBInstanceClass="db.serverless", DBClusterIdentifier={"Ref": "Cluster"}),
    }
    lines = estimate([stack(**resources)], production=True).lines
    [units] = [line for line in lines if line.unit == "ACU-hour"]
    assert units.amounts.floor == int(Decimal("0.12") * 730 * Decimal(str(least)) * 1_000_000)
    assert units.amounts.high == int(Decimal("0.12") * 730 * most * 1_000_000)


def test_use_that_is_assumed_once_is_not_charged_once_for_each_resource():
    one = estimate([stack(A=of("AWS::Logs::LogGroup", RetentionInDays=7))], production=True).total
    many = {name: of("AWS::Logs::LogGroup", RetentionInDays=7) for name in "ABCD"}
    assert abs(estimate([stack(**many)], production=True).total.expected - one.expected) < 10


def test_a_type_without_a_price_is_named_and_a_free_one_is_not():
    resources = {
        "Odd": of("AWS::RoboMaker::Fleet"),
        "Instance": of("AWS::EC2::Instance", InstanceType="x9.huge"),
        "Free": of("AWS::EC2::VPC"),
    }
    costs = estimate([stack(**resources)], production=True)
    assert costs.unpriced == (("p/Odd", "AWS::RoboMaker::Fleet"), ("p/Instance", "ec2.x9.huge"))
    assert costs.lines == ()


def test_a_region_without_a_price_is_told():
    [line, *_] = estimate([stack("eu-north-1", **SERVICE)], production=True).lines
    assert line.note == "no price of eu-north-1: us-east-1's"


def test_a_stack_in_development_is_used_less():
    api = stack(Api=of("AWS::ApiGateway::RestApi"))
    assert estimate([api], production=False).total.expected < estimate([api], production=True).total.expected


def test_every_price_has_its_page_and_its_order_of_magnitude():
    for key, price in table().prices.items():
        assert price.source.startswith("https://aws.amazon.com/"), key
        assert Decimal(0) < price.usd <= Decimal(5), key
        assert price.unit, key


def test_no_type_is_both_priced_and_free():
    assert not set(RULES) & table().free


def test_amounts_add_and_subtract():
    assert Amounts(1, 2, 3, 4) + Amounts(4, 3, 2, 1) == Amounts(5, 5, 5, 5)
    assert Amounts(5, 5, 5, 5) - Amounts(4, 3, 2, 1) == Amounts(1, 2, 3, 4)


@pytest.mark.parametrize(
    ("schedule", "share"),
    [
        (None, Decimal(1)),
        ({"stop": "22:00 UTC", "start": "07:00 UTC weekdays"}, Decimal(75) / 168),
        ({"stop": "22:00 UTC", "start": "10:00 UTC"}, Decimal(1) / 2),
        ({"stop": "22:00 UTC"}, Decimal(1)),
    ],
)
def test_the_share_of_a_week_that_a_schedule_leaves(schedule: dict[str, str] | None, share: Decimal):
    declared = None if schedule is None else Schedule.model_validate(schedule)
    assert running_share(declared) == share
