"""Charges of what computes and of the network around it: tasks, instances, functions, load balancers, NAT gateways."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

from slipway.operations.charges import ONE, Charge, Resource, Rule, Setting, amount, hours, number, span
from slipway.operations.prices import Range

_MONTH_S: Final = Decimal(730 * 3600)


def _service(name: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    properties = resource["Properties"]
    providers = [str(each.get("CapacityProvider")) for each in properties.get("CapacityProviderStrategy", ())]
    if properties.get("LaunchType") != "FARGATE" and not any(each.startswith("FARGATE") for each in providers):
        return  # the instances that it runs on are charged
    task = setting.target(properties.get("TaskDefinition")).get("Properties", {})
    least, most = setting.bounds(name, number(properties.get("DesiredCount"), 1))
    tasks = setting.usage.between(least, most).times(setting.running)
    vcpu, memory = number(task.get("Cpu"), 256) / 1024, number(task.get("Memory"), 512) / 1024
    spot = "spot." if "FARGATE_SPOT" in providers else ""
    what = f"{span(least, most)} tasks of {amount(vcpu)} vCPU, {amount(memory)} GB{' on Spot' if spot else ''}"
    yield hours(f"fargate.{spot}vcpu", tasks.times(vcpu), what)
    yield hours(f"fargate.{spot}gb", tasks.times(memory), what)


def _autoscaling_group(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    properties = resource["Properties"]
    mixed = properties.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    specification = properties.get("LaunchTemplate") or mixed.get("LaunchTemplateSpecification", {})
    template = setting.target(specification.get("LaunchTemplateId"))
    data = template.get("Properties", {}).get("LaunchTemplateData", {})
    instance = str(data.get("InstanceType", "unknown"))
    least, most = number(properties["MinSize"]), number(properties["MaxSize"])
    count = setting.usage.between(least, most).times(setting.running)
    yield hours(f"ec2.{instance}", count, f"{span(least, most)} {instance}")
    yield from _disks(data, count)


def _disks(data: Resource, count: Range) -> Iterator[Charge]:
    for mapping in data.get("BlockDeviceMappings", ()):
        size = number(mapping.get("Ebs", {}).get("VolumeSize"), 30)
        yield Charge("ebs.gp3", count.times(size), f"{amount(size)} GB disk each")


def _instance(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    template = setting.target(resource["Properties"].get("LaunchTemplate", {}).get("LaunchTemplateId"))
    data = {**template.get("Properties", {}).get("LaunchTemplateData", {}), **resource["Properties"]}
    kind = str(data.get("InstanceType", "unknown"))
    yield hours(f"ec2.{kind}", 1, f"one {kind}")
    yield from _disks(data, ONE)


def _node_group(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    properties = resource["Properties"]
    template = setting.target(properties.get("LaunchTemplate", {}).get("Id")).get("Properties", {})
    data = template.get("LaunchTemplateData", {})
    instance = str((properties.get("InstanceTypes") or [data.get("InstanceType", "t3.medium")])[0])
    scaling = properties.get("ScalingConfig", {})
    least, most = number(scaling.get("MinSize"), 1), number(scaling.get("MaxSize"), 1)
    count = setting.usage.between(least, most)
    yield hours(f"ec2.{instance}", count, f"{span(least, most)} {instance}")
    if data.get("BlockDeviceMappings"):
        yield from _disks(data, count)
    else:
        size = number(properties.get("DiskSize"), 20)
        yield Charge("ebs.gp3", count.times(size), f"{amount(size)} GB disk each")


def _kubernetes(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    del resource, setting
    yield hours("eks.cluster", 1, "control plane")


def _load_balancer(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    properties = resource["Properties"]
    kind = "nlb" if properties.get("Type") == "network" else "alb"
    yield hours(f"{kind}.hour", 1, "one load balancer")
    # One LCU is 25 new connections a second; a connection for each request, over the seconds of a month.
    requests = setting.evenly(setting.usage.requests_millions, resource["Type"])
    per_second = requests.times(Decimal(1_000_000) / _MONTH_S)
    yield hours(f"{kind}.lcu", per_second.times("0.04"), "new connections")
    if properties.get("Scheme", "internet-facing") == "internet-facing":
        zones = len(properties.get("Subnets") or properties.get("SubnetMappings") or (1, 1))
        yield hours("ipv4.hour", zones, f"{zones} public addresses")
        yield Charge("transfer.out", setting.evenly(setting.usage.out_gb, resource["Type"]), "answers to the internet")


def _nat(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    yield hours("nat.hour", 1, "one NAT gateway")
    yield Charge("nat.gb", setting.evenly(setting.usage.nat_gb, resource["Type"]), "what passes through")


def _address(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    del resource, setting
    yield hours("ipv4.hour", 1, "one public address")


def _endpoint(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    if resource["Properties"].get("VpcEndpointType", "Gateway") == "Gateway":
        return
    zones = len(resource["Properties"].get("SubnetIds") or (1,))
    yield hours("endpoint.hour", zones, f"in {zones} zone{'s' if zones != 1 else ''}")
    gb = setting.evenly(setting.usage.nat_gb, resource["Type"])
    yield Charge("endpoint.gb", gb.times("0.5"), "what passes through")


def _rest_api(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    yield Charge("apigateway.rest", setting.evenly(setting.usage.requests_millions, resource["Type"]), "requests")


def _function(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    memory = number(resource["Properties"].get("MemorySize"), 128) / 1024
    calls = setting.evenly(setting.usage.requests_millions, resource["Type"]).times("0.2")
    yield Charge("lambda.requests", calls, "a call for each five requests, over all functions")
    yield Charge("lambda.compute", calls.times(1_000_000).times(memory), f"a second of {amount(memory)} GB each")


def _state_machine(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    runs = setting.evenly(setting.usage.requests_millions, resource["Type"]).times("0.02")
    yield Charge("states.transitions", runs.times(1000).times(10), "ten steps for two in a hundred requests")


def _distribution(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    del resource
    yield Charge("cloudfront.requests", setting.usage.requests_millions.times(100).times("0.2"), "pages and scripts")
    yield Charge("cloudfront.transfer", setting.usage.out_gb.times("0.2"), "pages and scripts")


def _health_check(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    del setting
    config = resource["Properties"].get("HealthCheckConfig", {})
    options = int(str(config.get("Type", "")).startswith("HTTPS")) + int(bool(config.get("MeasureLatency")))
    options += int(number(config.get("RequestInterval"), 30) < 30)
    yield Charge("route53.health-check", ONE, "one health check")
    if options:
        yield Charge("route53.health-check-option", Range.fixed(options), "HTTPS, fast interval, latency")


def _zone(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    del resource, setting
    yield Charge("route53.zone", ONE, "one hosted zone")


def _nothing(_: str, resource: Resource, setting: Setting) -> Iterator[Charge]:
    """What passes through it is charged elsewhere."""
    del resource, setting
    yield from ()


COMPUTE: Final[Mapping[str, Rule]] = {
    "AWS::ApiGateway::RestApi": _rest_api,
    "AWS::ApiGateway::VpcLink": _nothing,
    "AWS::ApiGatewayV2::VpcLink": _nothing,
    "AWS::AutoScaling::AutoScalingGroup": _autoscaling_group,
    "AWS::CloudFront::Distribution": _distribution,
    "AWS::EC2::EIP": _address,
    "AWS::EC2::Instance": _instance,
    "AWS::EC2::NatGateway": _nat,
    "AWS::EC2::VPCEndpoint": _endpoint,
    "AWS::ECS::Service": _service,
    "AWS::EKS::Cluster": _kubernetes,
    "AWS::EKS::Nodegroup": _node_group,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": _load_balancer,
    "AWS::Lambda::Function": _function,
    "AWS::Route53::HealthCheck": _health_check,
    "AWS::Route53::HostedZone": _zone,
    "AWS::ServiceDiscovery::PrivateDnsNamespace": _zone,
    "AWS::StepFunctions::StateMachine": _state_machine,
}
