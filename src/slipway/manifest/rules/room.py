"""Addresses and network interfaces: what runs at most has one each, and subnets and instances have only so many.

Counted for the fullest zone. Copies are spread evenly over the zones; during a deployment the workload with the most
copies has twice as many. What AWS takes for itself:

- five addresses of each subnet (VPC User Guide, Subnet CIDR blocks);
- eight free ones for a load balancer in each of its subnets (Elastic Load Balancing, Application Load Balancers);
- three for each node of an OpenSearch domain (OpenSearch Service Developer Guide, VPC domains);
- one in each subnet for all Lambda functions together, whatever their concurrency: functions of the same subnets and
  security group share an interface (Lambda Developer Guide, Hyperplane ENIs); counted twice, as it may add a second;
- on EKS blocks of 16 for pods (`ENABLE_PREFIX_DELEGATION`), one more block a node kept warm, and one for each of a
  node's interfaces, three of them; its control plane has up to four (EKS best practices, prefix mode).

On EC2 a task takes a whole interface of its instance, which needs one for itself. More of them (trunking) are a setting
of the account, not of a template, and no t3 has them.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final

from slipway.base.errors import Misconfigured
from slipway.manifest.addressing import subnet_ranges
from slipway.manifest.instances import interfaces_of
from slipway.manifest.problems import Finding
from slipway.manifest.rules.capacity import Task, tasks
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.network import FREE_ENDPOINTS, Tier

_KEPT_BY_AWS: Final = 5
_LOAD_BALANCER: Final = 8
_NODE_OF_DOMAIN: Final = 3
_FUNCTIONS: Final = 2
_PREFIX: Final = 16
_NODE_INTERFACES: Final = 3
_CONTROL_PLANE: Final = 4
_SYSTEM_PODS: Final = 12  # of the add-ons, those of each node aside, which use the node's own address
_INTERFACES_EACH: Final[Mapping[str, int]] = {"ecr": 2, "ssm": 2, "ecs": 3, "eks": 2}  # endpoints of one name


def subnets(manifest: Manifest) -> Iterator[Finding]:
    """Everything that may run at once has an address in its subnet. Of a VPC that exists the sizes are not known."""
    if manifest.network.vpc is not None or manifest.share is not None:
        return
    try:
        ranges = subnet_ranges(manifest.network)
    except Misconfigured as refused:
        yield Finding(("network", "cidr"), refused.public.rstrip("."))
        return
    for tier, wanted in _wanted(manifest).items():
        if tier not in ranges:
            continue
        smallest = min((ipaddress.IPv4Network(each) for each in ranges[tier]), key=lambda each: each.num_addresses)
        room, asked = smallest.num_addresses - _KEPT_BY_AWS, sum(wanted.values())
        if asked > room:
            most = sorted(wanted.items(), key=lambda item: -item[1])
            named = ", ".join(f"{count} by {what}" for what, count in most if count)
            yield Finding(
                ("network", "subnets" if manifest.network.subnets is not None else "cidr"),
                f"the {tier} subnet {smallest} has {room} addresses ({_KEPT_BY_AWS} more are AWS's own), and up to "
                f"{asked} are asked for in one zone: {named}. Write larger ranges, more azs, or a smaller scale.max",
            )


def interfaces(manifest: Manifest) -> Iterator[Finding]:
    """On EC2 the copies that always run, and the one more that replaces one of them, find an interface each."""
    free = _free_interfaces(manifest)
    if free is None:
        return
    least = sum(task.scale.min for task in tasks(manifest))
    if least + 1 > free:
        capacity = manifest.capacity
        each = free // capacity.max
        yield Finding(
            ("capacity", "max"),
            f"{least} copies always run and a deployment starts one more beside them, each with a network interface of "
            f"its own, and {capacity.max} × {capacity.instance} have {each} of them for tasks each, {free} together: "
            + (f"write max: {-(-(least + 1) // each)}, or a larger instance" if each else "write a larger instance"),
        )


def ceiling(manifest: Manifest) -> str | None:
    """On EC2, how many of the copies that scaling may ask for find no interface on all instances together; None when
    each does, or nothing is known of the instance."""
    free = _free_interfaces(manifest)
    most = sum(_most(task) for task in tasks(manifest))
    if free is None or most <= free:
        return None
    capacity = manifest.capacity
    return (
        f"scaling may ask for {most} copies, and {capacity.max} × {capacity.instance} have network interfaces for "
        f"{free} ({free // capacity.max} each): the others wait. Write a larger capacity.max, an instance with more "
        "interfaces, or a smaller scale.max"
    )


def _free_interfaces(manifest: Manifest) -> int | None:
    count = interfaces_of(manifest.capacity.instance) if manifest.compute == "ec2" else None
    return None if count is None else (count - 1) * manifest.capacity.max


def _wanted(manifest: Manifest) -> Mapping[Tier, Mapping[str, int]]:
    """Addresses that the fullest subnet of each tier gives, by what takes them."""
    network, edge = manifest.network, manifest.edge
    routed = _routed(manifest)
    balancers = {"a load balancer": _LOAD_BALANCER if "public" in routed else 0}
    inside = {"the internal load balancer": _LOAD_BALANCER if "internal" in routed else 0}
    private = {
        **_running(manifest),
        "endpoints": sum(_INTERFACES_EACH.get(name, 1) for name in network.endpoints if name not in FREE_ENDPOINTS),
        "functions": _FUNCTIONS,
        "API Gateway's link": int(edge.api_gateway),
        "the bastion": int(manifest.bastion is not None),
        **(balancers if edge.api_gateway else {}),
        **inside,
    }
    public = {"NAT gateways": int(network.nat != "none"), **({} if edge.api_gateway else balancers)}
    stores = _stores(manifest)
    if "isolated" in network.tiers:
        return {"public": public, "private": private, "isolated": stores}
    return {"public": public, "private": {**private, **stores}}


def _running(manifest: Manifest) -> Mapping[str, int]:
    every = [_most(task) for task in tasks(manifest)]
    copies, zones = sum(every) + max(every, default=0), manifest.network.azs
    if manifest.compute == "fargate":
        return {"copies of containers": -(-copies // zones)}
    instances = manifest.capacity.max
    if manifest.compute == "ec2":
        return {"copies of containers": -(-copies // zones), "instances": -(-instances // zones)}
    blocks = -(-(copies + _SYSTEM_PODS) // _PREFIX) + instances
    return {
        "pods, in blocks": -(-blocks // zones) * _PREFIX,
        "nodes": -(-instances // zones) * _NODE_INTERFACES,
        "the cluster's API": -(-_CONTROL_PLANE // zones),
    }


def _stores(manifest: Manifest) -> Mapping[str, int]:
    """Stores are spread over all zones with subnets; each count is that of the fullest one."""
    data, zones = manifest.data, manifest.network.subnet_zones
    volumes = [service.volume for service in manifest.services.values()]
    aurora = data.postgres is not None and data.postgres.engine == "aurora"
    counts = {
        "PostgreSQL": 1 + data.postgres.readers if aurora and data.postgres is not None else 0,
        "Redis": 0 if data.redis is None else 1 + data.redis.multi_az,
        "Neptune": 1 + data.neptune.readers if data.graph == "neptune" else 0,
        "the log domain": _NODE_OF_DOMAIN * data.log_domain.nodes if data.logs == "opensearch" else 0,
    }
    shared = {
        "the search collection": int(data.search == "opensearch"),
        "file systems": sum(each is not None and each.kind == "efs" for each in volumes),
    }
    return {**{name: -(-count // zones) for name, count in counts.items()}, **shared}


def _routed(manifest: Manifest) -> frozenset[str]:
    """Which kinds of routes there are."""
    kinds = {service.exposure for service in manifest.services.values() if service.route is not None}
    return frozenset(kinds | {"public"} if manifest.component_order() else kinds)


def _most(task: Task) -> int:
    """The most copies that a task ever has, at whatever time of the day."""
    return max(task.scale.max, *(change.max for change in task.scale.schedule), 0)
