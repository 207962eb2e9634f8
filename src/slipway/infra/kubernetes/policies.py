"""Who may speak to whom among pods: the topology's edges, and nothing else. The VPC's network plugin holds them.

Security groups cannot tell pods of one node apart; these can. Called by the Kubernetes stack.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from slipway.infra.kubernetes.application import NAME_LABEL, Document, metadata
from slipway.infra.topology import INTERNAL_LOAD_BALANCER, LOAD_BALANCER, Edge

ANYWHERE: Final = "0.0.0.0/0"
# Where a node answers with a pod's credentials (EKS Pod Identity).
_IDENTITY_AGENT: Final = ("169.254.170.23/32", 80)
_METADATA: Final = "169.254.0.0/16"
_HTTPS: Final = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """`workloads` are pods; `entrance` the ranges of addresses of load balancers, `ranges` those of stores and of what
    is outside, by the target of an edge: anywhere for one that is not there."""

    namespace: str
    workloads: Sequence[str]
    entrance: Sequence[str]
    ranges: Mapping[str, Sequence[str]]


def policies_of(around: Surroundings, edges: Iterable[Edge], outward: Iterable[str]) -> tuple[Document, ...]:
    """A policy that refuses everything, and one for each workload. `outward` are those that call AWS or other services
    on the internet."""
    known, out = list(edges), frozenset(outward)
    refused: Document = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata("refuse-all", around.namespace),
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }
    return (refused, *(_policy(name, around, known, outward=name in out) for name in around.workloads))


def _policy(name: str, around: Surroundings, edges: Sequence[Edge], *, outward: bool) -> Document:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name, around.namespace, name),
        "spec": {
            "podSelector": {"matchLabels": {NAME_LABEL: name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": list(_let_in(name, around, edges)),
            "egress": list(_let_out(name, around, edges, outward=outward)),
        },
    }


def _let_in(name: str, around: Surroundings, edges: Sequence[Edge]) -> Iterator[Document]:
    by_port: dict[int, list[Document]] = {}
    for edge in edges:
        if edge.target != name:
            continue
        if edge.source in around.workloads:
            by_port.setdefault(edge.port, []).append(_pods(edge.source))
        elif edge.source in (LOAD_BALANCER, INTERNAL_LOAD_BALANCER):
            blocks = [_block(each) for each in around.entrance]
            by_port.setdefault(edge.port, []).extend(
                block for block in blocks if block not in by_port.get(edge.port, [])
            )
    for port, sources in sorted(by_port.items()):
        yield {"from": sources, "ports": [_port(port)]}


def _let_out(name: str, around: Surroundings, edges: Sequence[Edge], *, outward: bool) -> Iterator[Document]:
    names = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    yield {
        "to": [{**names, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
        "ports": [_port(53, "UDP"), _port(53, "TCP")],
    }
    yield {"to": [_block(_IDENTITY_AGENT[0])], "ports": [_port(_IDENTITY_AGENT[1])]}
    for edge in edges:
        if edge.source != name:
            continue
        if edge.target in around.workloads:
            yield {"to": [_pods(edge.target)], "ports": [_port(edge.port)]}
        elif edge.port != _HTTPS or not outward:
            ranges = around.ranges.get(edge.target) or (ANYWHERE,)
            yield {"to": [_block(each) for each in ranges], "ports": [_port(edge.port)]}
    if outward:
        # Not the instance's own metadata: a node's role is not for pods.
        yield {"to": [{"ipBlock": {"cidr": ANYWHERE, "except": [_METADATA]}}], "ports": [_port(_HTTPS)]}


def _pods(name: str) -> Document:
    return {"podSelector": {"matchLabels": {NAME_LABEL: name}}}


def _block(cidr: str) -> Document:
    return {"ipBlock": {"cidr": cidr}}


def _port(port: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"port": port, "protocol": protocol}
