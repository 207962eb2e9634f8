"""Who reaches whom over the network, read from templates alone: groups on both sides, ACLs, routes, pods' policies.

An independent judge: nothing of `slipway.infra`'s topology is asked, so that what the topology says wrongly, and what a
construct makes wrongly of it, are both seen. `declared` says what a manifest asks for; `judge` compares the two.

A node is named as the manifest names it: a workload by its container, a store by what it is (`postgres`), a file
system by who mounts it (`qdrant-files`). EKS adds a group of its own to each node, which lets everything out and its
own members in (EKS user guide, "Amazon EKS security group requirements"); policies are what holds pods there.
"""

import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from tests.infra.reading import Found, Templates

WORLD: Final = "0.0.0.0/0"
INTERNET: Final = "internet"
_ALL: Final = (0, 65535)
_ANSWERS: Final = (1024, 65535)
_METADATA: Final = ipaddress.IPv4Network("169.254.0.0/16")
# Where the groups and subnets of a type stand in its properties, and what it is called. A name of None is found out.
_STANDS: Final[Mapping[str, tuple[str | None, str, str]]] = {
    "AWS::RDS::DBCluster": ("postgres", "VpcSecurityGroupIds", "DBSubnetGroupName"),
    "AWS::Neptune::DBCluster": ("neptune", "VpcSecurityGroupIds", "DBSubnetGroupName"),
    "AWS::ElastiCache::ReplicationGroup": ("redis", "SecurityGroupIds", "CacheSubnetGroupName"),
    "AWS::OpenSearchServerless::VpcEndpoint": ("opensearch", "SecurityGroupIds", "SubnetIds"),
    "AWS::OpenSearchService::Domain": ("log-domain", "VPCOptions.SecurityGroupIds", "VPCOptions.SubnetIds"),
    "AWS::EFS::MountTarget": (None, "SecurityGroups", "SubnetId"),
    "AWS::ECS::Service": (
        None,
        "NetworkConfiguration.AwsvpcConfiguration.SecurityGroups",
        "NetworkConfiguration.AwsvpcConfiguration.Subnets",
    ),
    "AWS::Lambda::Function": ("functions", "VpcConfig.SecurityGroupIds", "VpcConfig.SubnetIds"),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": (None, "SecurityGroups", "Subnets"),
    "AWS::ApiGatewayV2::VpcLink": ("vpc-link", "SecurityGroupIds", "SubnetIds"),
    "AWS::EC2::Instance": ("bastion", "SecurityGroupIds", "SubnetId"),
    "AWS::EC2::VPCEndpoint": ("endpoints", "SecurityGroupIds", "SubnetIds"),
    "AWS::EC2::LaunchTemplate": (None, "LaunchTemplateData.SecurityGroupIds", ""),
    "AWS::CodeBuild::Project": ("builds", "VpcConfig.SecurityGroupIds", "VpcConfig.Subnets"),
}
_STORES: Final = frozenset(
    {
        "AWS::EFS::MountTarget", "AWS::ElastiCache::ReplicationGroup", "AWS::Neptune::DBCluster",
        "AWS::OpenSearchServerless::VpcEndpoint", "AWS::OpenSearchService::Domain", "AWS::RDS::DBCluster",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Reach:
    """`source` opens connections to `target` at these ports: `5432`, or a range as `0-65535`; not TCP by its name."""

    source: str
    target: str
    port: str

    def __str__(self) -> str:
        return f"{self.source} reaches {self.target} at {self.port}"


@dataclass(slots=True)
class Node:
    """What stands in the network: by name, in a region, in groups and subnets; `labels` are a pod's."""

    name: str
    region: str
    groups: set[str] = field(default_factory=set)
    subnets: set[str] = field(default_factory=set)
    labels: Mapping[str, str] | None = None
    kinds: set[str] = field(default_factory=set)

    @property
    def store(self) -> bool:
        """Whether it is a store of AWS's; a container that is one says so by its need alone."""
        return not self.kinds.isdisjoint(_STORES)


@dataclass(frozen=True, slots=True)
class _Rule:
    peer: str  # a group, or a range of addresses
    ports: tuple[int, int]
    protocol: str


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    egress: bool
    cidr: str
    ports: tuple[int, int]
    allow: bool


class Network:
    """The networks of an assembly, one a region."""

    def __init__(self, templates: Templates) -> None:
        self._read = templates
        self.inward, self.outward = self._rules()
        self.policies = list(self.documents("NetworkPolicy"))
        self.nodes = {(node.region, node.name): node for node in self._nodes()}

    # what is reached

    def reaches(self) -> frozenset[Reach]:
        """Who reaches whom within a network, and what the internet reaches."""
        found = set()
        for (region, name), target in self.nodes.items():
            for port in self._from_the_world(target):
                found.add(Reach(INTERNET, name, port))
            for (other, source_name), source in self.nodes.items():
                if other == region and source is not target:
                    found |= {Reach(source_name, name, port) for port in self._between(source, target)}
        return frozenset(found)

    def ways_out(self) -> frozenset[Reach]:
        """Who reaches what range of addresses outside, by a route that there is."""
        found = set()
        for node in self.nodes.values():
            for rule in self._lets_out(node):
                if _is_range(rule.peer) and self._leaves(node, rule.peer, rule.ports):
                    found.add(Reach(node.name, rule.peer, _port(rule)))
        return frozenset(found)

    def entered(self, name: str) -> frozenset[str]:
        """Ranges of addresses, not groups, that the groups of a node let in."""
        return frozenset(
            rule.peer
            for node in self.nodes.values()
            if node.name == name
            for group in node.groups
            for rule in self.inward.get(group, ())
            if _is_range(rule.peer)
        )

    def leads_out(self, name: str) -> bool:
        """Whether there is a way to the internet from where a node stands; there is, from subnets made elsewhere."""
        return all(
            subnet not in self._subnets or self._gates.get(subnet)
            for node in self.nodes.values()
            if node.name == name
            for subnet in node.subnets
        )

    def public_subnets(self) -> frozenset[str]:
        """Subnets with a route to an internet gateway."""
        return frozenset(subnet for subnet, gates in self._gates.items() if "internet" in gates)

    def _from_the_world(self, target: Node) -> Iterator[str]:
        for group in target.groups:
            for rule in self.inward.get(group, ()):
                if rule.peer in (WORLD, "::/0"):
                    yield _port(rule)

    def _between(self, source: Node, target: Node) -> Iterator[str]:
        """Ports that both sides' groups, both subnets' ACLs and both pods' policies let through."""
        for out in self._group_rules(source, self.outward):
            if not self._covers(out.peer, target):
                continue
            for into in self._group_rules(target, self.inward):
                both = _both(out, into)
                if both is not None and self._covers(into.peer, source):
                    for ports in self._let_by_policies(source, target, both.ports):
                        if self._let_by_acls(source, target, ports):
                            yield _port(_Rule("", ports, both.protocol))

    def _group_rules(self, node: Node, rules: Mapping[str, list[_Rule]]) -> Iterator[_Rule]:
        for group in sorted(node.groups):
            yield from rules.get(group, ())

    def _covers(self, peer: str, node: Node) -> bool:
        """Whether a rule about `peer` is about a node: its group, or a range that has its addresses."""
        if peer in node.groups or peer == WORLD:
            return True
        if not _is_range(peer) or ":" in peer:
            return False
        span = ipaddress.IPv4Network(peer)
        return any(span.overlaps(cidr) for cidr in self._cidrs(node))

    def _cidrs(self, node: Node) -> list[ipaddress.IPv4Network]:
        return [self._subnets[subnet] for subnet in sorted(node.subnets) if subnet in self._subnets]

    # pods

    def _let_by_policies(self, source: Node, target: Node, ports: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """The ports among `ports` that pods' policies leave."""
        spans = [ports]
        for pod, peer, direction in ((source, target, "egress"), (target, source, "ingress")):
            if pod.labels is not None:
                allowed = [rule.ports for rule in self._pod_rules(pod, direction) if self._pod_covers(rule.peer, peer)]
                spans = [both for span in spans for each in allowed if (both := _overlap(span, each)) is not None]
        yield from dict.fromkeys(spans)

    def _pod_rules(self, pod: Node, direction: str) -> Iterator[_Rule]:
        """What policies let a pod do; everything, when no policy is about it."""
        about = [
            policy["spec"]
            for policy in self.policies
            if _selects(policy["spec"].get("podSelector", {}), pod.labels or {})
            and direction.title() in policy["spec"].get("policyTypes", ["Ingress"])
        ]
        if not about:
            yield _Rule(WORLD, _ALL, "tcp")
        for spec in about:
            for rule in spec.get(direction, ()):
                for peer in rule.get("to" if direction == "egress" else "from", [{"ipBlock": {"cidr": WORLD}}]):
                    for port in rule.get("ports", [{"port": None, "protocol": "TCP"}]):
                        if port.get("protocol", "TCP") == "TCP":
                            number = port.get("port")
                            last = port.get("endPort", number)
                            yield _Rule(json.dumps(peer), _ALL if number is None else (number, last), "tcp")

    def _pod_covers(self, peer: str, node: Node) -> bool:
        if peer == WORLD:
            return True
        described = json.loads(peer)
        if "ipBlock" in described:
            span = ipaddress.IPv4Network(described["ipBlock"]["cidr"])
            return span.prefixlen == 0 or any(span.overlaps(cidr) for cidr in self._cidrs(node))
        if "namespaceSelector" in described:
            return False  # the cluster's own, like its DNS
        return node.labels is not None and _selects(described["podSelector"], node.labels)

    # ways out

    def _lets_out(self, node: Node) -> Iterator[_Rule]:
        if node.labels is None:
            yield from self._group_rules(node, self.outward)
            return
        inside = list(self._subnets.values())
        for rule in self._pod_rules(node, "egress"):
            block = {"cidr": WORLD} if rule.peer == WORLD else json.loads(rule.peer).get("ipBlock")
            if block is None:
                continue
            span = ipaddress.IPv4Network(block["cidr"])
            within = span.prefixlen > 0 and any(cidr.overlaps(span) for cidr in inside)
            if not within and not span.subnet_of(_METADATA):
                yield _Rule(block["cidr"], rule.ports, rule.protocol)

    def _leaves(self, node: Node, cidr: str, ports: tuple[int, int]) -> bool:
        if cidr == "127.0.0.1/32":
            return False
        for subnet in node.subnets:
            if subnet in self._subnets and not self._gates.get(subnet):
                return False
            entries = self._acl_of.get(subnet)
            if entries is not None and not (
                _passes(entries, cidr, ports, egress=True) and _passes(entries, cidr, _ANSWERS, egress=False)
            ):
                return False
        return True

    def _let_by_acls(self, source: Node, target: Node, ports: tuple[int, int]) -> bool:
        """Whether the subnets' ACLs let calls and answers through, from each zone to each."""
        for here in source.subnets:
            for there in target.subnets:
                if here == there or here not in self._subnets or there not in self._subnets:
                    continue
                near, far = str(self._subnets[here]), str(self._subnets[there])
                checks = ((here, far, ports, True), (there, near, ports, False),
                          (there, near, _ANSWERS, True), (here, far, _ANSWERS, False))  # fmt: skip
                for subnet, cidr, span, egress in checks:
                    entries = self._acl_of.get(subnet)
                    if entries is not None and not _passes(entries, cidr, span, egress=egress):
                        return False
        return True

    # what there is

    @cached_property
    def _subnets(self) -> dict[str, ipaddress.IPv4Network]:
        return {
            each.place: ipaddress.IPv4Network(self._read.text(each.part, each.properties["CidrBlock"]))
            for each in self._read.of("AWS::EC2::Subnet")
        }

    @cached_property
    def _gates(self) -> dict[str, set[str]]:
        """What lies behind the default route of each subnet: `internet`, `nat`, or nothing."""
        behind: dict[str, set[str]] = {}
        for route in self._read.of("AWS::EC2::Route"):
            if route.properties.get("DestinationCidrBlock") == WORLD:
                [table] = self._read.places(route.part, route.properties["RouteTableId"])
                behind.setdefault(table, set()).add("internet" if "GatewayId" in route.properties else "nat")
        gates: dict[str, set[str]] = {}
        for each in self._read.of("AWS::EC2::SubnetRouteTableAssociation"):
            [table] = self._read.places(each.part, each.properties["RouteTableId"])
            for subnet in self._read.places(each.part, each.properties["SubnetId"]):
                gates.setdefault(subnet, set()).update(behind.get(table, ()))
        return gates

    @cached_property
    def _acl_of(self) -> dict[str, list[_Entry]]:
        entries: dict[str, list[_Entry]] = {}
        for each in self._read.of("AWS::EC2::NetworkAclEntry"):
            [acl] = self._read.places(each.part, each.properties["NetworkAclId"])
            span = each.properties.get("PortRange", {"From": _ALL[0], "To": _ALL[1]})
            entries.setdefault(acl, []).append(
                _Entry(
                    each.properties["RuleNumber"],
                    each.properties.get("Egress", False),
                    self._read.text(each.part, each.properties["CidrBlock"]),
                    (span["From"], span["To"]),
                    each.properties["RuleAction"] == "allow",
                )
            )
        of: dict[str, list[_Entry]] = {}
        for each in self._read.of("AWS::EC2::SubnetNetworkAclAssociation"):
            [acl] = self._read.places(each.part, each.properties["NetworkAclId"])
            for subnet in self._read.places(each.part, each.properties["SubnetId"]):
                of[subnet] = sorted(entries.get(acl, []), key=lambda entry: entry.number)
        return of

    def _rules(self) -> tuple[dict[str, list[_Rule]], dict[str, list[_Rule]]]:
        inward: dict[str, list[_Rule]] = {}
        outward: dict[str, list[_Rule]] = {}
        for each in self._read.of("AWS::EC2::SecurityGroup"):
            name = f"{{{each.place}.GroupId}}"
            inward[name] = [self._rule(each.part, rule) for rule in each.properties.get("SecurityGroupIngress", ())]
            # Without a rule of its own, EC2 lets a group out everywhere.
            stated = each.properties.get("SecurityGroupEgress", ({"IpProtocol": "-1", "CidrIp": WORLD},))
            outward[name] = [self._rule(each.part, rule) for rule in stated]
        for each in self._read.of("AWS::EKS::Cluster"):
            own = f"{{{each.place}.ClusterSecurityGroupId}}"
            inward[own], outward[own] = [_Rule(own, _ALL, "tcp")], [_Rule(WORLD, _ALL, "tcp")]
        for kind, rules in (("AWS::EC2::SecurityGroupIngress", inward), ("AWS::EC2::SecurityGroupEgress", outward)):
            for each in self._read.of(kind):
                group = self._read.text(each.part, each.properties["GroupId"])
                rules.setdefault(group, []).append(self._rule(each.part, each.properties))
        return inward, outward

    def _rule(self, part: str, rule: Mapping[str, Any]) -> _Rule:
        peers = ("SourceSecurityGroupId", "DestinationSecurityGroupId", "CidrIp", "CidrIpv6", "SourcePrefixListId")
        peer = next(self._read.text(part, rule[key]) for key in peers if key in rule)
        everything = str(rule["IpProtocol"]) == "-1"
        ports = _ALL if everything else (int(rule["FromPort"]), int(rule["ToPort"]))
        return _Rule(peer, ports, "tcp" if everything else str(rule["IpProtocol"]))

    def _nodes(self) -> Iterator[Node]:
        nodes: dict[tuple[str, str], Node] = {}
        for each in self._read.of(*_STANDS):
            known, groups_at, subnets_at = _STANDS[each.kind]
            groups = self._texts(each, groups_at)
            if not groups:
                continue
            for name in (known,) if known else self._names(each):
                node = nodes.setdefault((each.region, name), Node(name, each.region))
                node.groups.update(groups)
                node.subnets.update(self._subnets_at(each, subnets_at))
                node.kinds.add(each.kind)
        yield from nodes.values()
        hosts = [node for node in nodes.values() if node.name == "nodes"]
        for deployment in self.documents("Deployment"):
            for host in hosts:
                labels = deployment["spec"]["template"]["metadata"]["labels"]
                yield Node(deployment["metadata"]["name"], host.region, host.groups, host.subnets, labels, host.kinds)

    def _names(self, each: Found) -> Iterator[str]:
        if each.kind == "AWS::ECS::Service":
            [place] = self._read.places(each.part, each.properties["TaskDefinition"])
            yield self.task_name(place)
        elif each.kind == "AWS::EFS::MountTarget":
            [files] = self._read.places(each.part, each.properties["FileSystemId"])
            yield from (f"{name}-files" for name in self.mounting.get(files, ("nobody",)))
        elif each.kind == "AWS::EC2::LaunchTemplate":
            used = {
                place: "nodes" if other.kind == "AWS::EKS::Nodegroup" else "instances"
                for other in self._read.of("AWS::EKS::Nodegroup", "AWS::AutoScaling::AutoScalingGroup")
                for place in self._read.places(other.part, other.properties["LaunchTemplate"])
            }
            yield from (used[each.place],) if each.place in used else ()
        else:
            # The second load balancer of an environment, for routes that the internet must not reach.
            inner = each.place.partition("/")[2].startswith("Internal")
            yield "internal-load-balancer" if inner else "load-balancer"

    def task_name(self, place: str) -> str:
        """What a task definition is for: the container without which it ends."""
        [definition] = [each for each in self._read.of("AWS::ECS::TaskDefinition") if each.place == place]
        containers = definition.properties["ContainerDefinitions"]
        return str(next(each["Name"] for each in containers if each.get("Essential", True)))

    @cached_property
    def mounting(self) -> dict[str, list[str]]:
        """Who mounts each file system."""
        found: dict[str, list[str]] = {}
        for each in self._read.of("AWS::ECS::TaskDefinition"):
            for volume in each.properties.get("Volumes", ()):
                configured = volume.get("EFSVolumeConfiguration", {}).get("FilesystemId", "")
                for files in self._read.places(each.part, configured):
                    found.setdefault(files, []).append(self.task_name(each.place))
        return found

    def _texts(self, each: Found, path: str) -> tuple[str, ...]:
        value: Any = each.properties
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return () if value is None else self._read.texts(each.part, value)

    def _subnets_at(self, each: Found, path: str) -> Iterator[str]:
        if path == "":
            for other in self._read.of("AWS::EKS::Nodegroup", "AWS::AutoScaling::AutoScalingGroup"):
                if each.place in self._read.places(other.part, other.properties["LaunchTemplate"]):
                    key = "Subnets" if other.kind == "AWS::EKS::Nodegroup" else "VPCZoneIdentifier"
                    yield from (place for text in self._texts(other, key) for place in _bare(text))
            return
        for text in self._texts(each, path):
            groups = [
                group
                for group in self._read.of("AWS::RDS::DBSubnetGroup", "AWS::Neptune::DBSubnetGroup",
                                           "AWS::ElastiCache::SubnetGroup")
                if text == f"{{{group.place}}}"
            ]  # fmt: skip
            for group in groups:
                yield from (place for subnet in self._texts(group, "SubnetIds") for place in _bare(subnet))
            if not groups:
                yield from _bare(text)

    def documents(self, kind: str) -> Iterator[dict[str, Any]]:
        """Documents of Kubernetes of one kind, from where the cluster takes them."""
        for version in self._read.of("AWS::AppConfig::HostedConfigurationVersion"):
            content = json.loads(self._read.text(version.part, version.properties["Content"]))
            for document in content.get("items", ()) if isinstance(content, Mapping) else ():
                if document.get("kind") == kind:
                    yield document


def _bare(text: str) -> Iterator[str]:
    """A subnet without its braces and attribute; one that is not made here as it stands."""
    yield text.strip("{}").partition(".")[0] if text.startswith("{") and "/" in text else text


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def _is_range(peer: str) -> bool:
    return "/" in peer and not peer.startswith("{")


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int] | None:
    first, last = max(one[0], other[0]), min(one[1], other[1])
    return (first, last) if first <= last else None


def _both(out: _Rule, into: _Rule) -> _Rule | None:
    ports = _overlap(out.ports, into.ports)
    return _Rule("", ports, out.protocol) if ports is not None and out.protocol == into.protocol else None


def _passes(entries: list[_Entry], cidr: str, ports: tuple[int, int], *, egress: bool) -> bool:
    """Whether the first entry that is about a call lets it through; one that is about a part of it does not do."""
    span = ipaddress.IPv4Network(cidr)
    for entry in entries:
        about = entry.egress == egress and span.subnet_of(ipaddress.IPv4Network(entry.cidr))
        if about and entry.ports[0] <= ports[0] and ports[1] <= entry.ports[1]:
            return entry.allow
    return False


def _port(rule: _Rule) -> str:
    first, last = rule.ports
    span = str(first) if first == last else f"{first}-{last}"
    return span if rule.protocol == "tcp" else f"{rule.protocol} {span}"
