"""Random manifests that hold: over zones, compute, stores, services, dependencies and edges (Hypothesis strategies).

`documents()` gives plain data as YAML would, `manifests()` the frozen Manifest of it. Each choice is made so that the
rules hold; nothing is drawn and thrown away. Used here, and by the tests of `infra`, which synthesize them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from slipway.manifest.catalog import CATALOG, STORES, closure
from slipway.manifest.loading import build
from slipway.manifest.schema import Manifest

Data = dict[str, Any]
COMPUTES: Final = ("fargate", "ec2", "eks")
_SIZES: Final = ((256, 512), (256, 2048), (512, 1024), (512, 3072), (1024, 2048), (2048, 4096))
_DIGEST: Final = f"sha256:{'c' * 64}"
_SERVICES: Final = ("web", "api", "worker", "vectors")
_DEPENDENCIES: Final = {"mongodb": 27017, "warehouse": 5432, "partners": 443}
_TABLES: Final = ("usage_plans", "usage_logs", "workflow-state")
_ALL_ENDPOINTS: Final = (
    "s3", "dynamodb", "ecr", "logs", "secrets", "sts", "bedrock", "bedrock-agent", "ssm", "ecs", "ec2", "eks",
)  # fmt: skip
_FREE_ENDPOINTS: Final = ("s3", "dynamodb")
_COMPONENT_NEEDS: Final = {name: tuple(n.value for n in CATALOG[name].needs if n in STORES) for name in CATALOG}


def manifests(computes: Sequence[str] = COMPUTES) -> st.SearchStrategy[Manifest]:
    """Manifests that hold, with a region, on any of `computes`."""
    return documents(computes).map(build)


@st.composite
def documents(draw: st.DrawFn, computes: Sequence[str] = COMPUTES) -> Data:
    """The plain data of a manifest that holds."""
    compute = draw(st.sampled_from(tuple(computes)))
    copies = draw(st.booleans())  # to a second region
    closed = draw(st.integers(0, 4)) == 0  # no way out to the internet
    data = draw(_data(compute, copies))
    scheduled = draw(st.booleans())
    dependencies = {} if closed else draw(_dependencies())
    components = draw(_components(compute, data, spot=scheduled and compute == "fargate"))
    services = draw(_services(compute, _needable(data, components, dependencies), spot=scheduled))
    serves = _serves(components, services)
    network = draw(_network(compute, closed=closed))
    edge = draw(_edge(serves=serves, public="public" in _tiers_of(network)))
    document: Data = {
        "slipway": 1,
        "name": "drawn",
        "region": "us-east-1",
        "compute": compute,
        "components": components,
        "services": services,
        "dependencies": dependencies,
        "models": draw(_models(closed=closed)),
        "data": data,
        "network": network,
        "edge": edge,
        "identity": draw(_identity(closed=closed)),
        "monitoring": draw(_monitoring()),
        "recovery": draw(_recovery(copies=copies, domain="domain" in edge)),
        "capacity": {"instance": draw(st.sampled_from(("m6i.2xlarge", "m7g.4xlarge"))), "min": 1, "max": 60},
        "bastion": draw(st.sampled_from((None, {}, {"instance": "t3.large"}))),
        "workflows": {"engine": draw(st.sampled_from(("built-in", "step-functions")))},
        "features": draw(st.dictionaries(st.sampled_from(("new-search", "summaries")), st.booleans())),
        "audit": {"trail": draw(st.booleans()), "guard_duty": draw(st.booleans())},
        "delivery": draw(_delivery(compute)),
        "agents": draw(_agents(data)),
        "tags": {"Project": "drawn", "Owner": "tests", "CostCenter": "0"},
    }
    if scheduled:
        document["schedule"] = {"stop": "22:00 UTC", "start": "07:00 UTC weekdays"}
    if document["agents"].get("bedrock_agent"):
        document["models"] = {"default": "claude", "available": {"claude": _BEDROCK}}
    return document


_BEDROCK: Final[Data] = {"provider": "bedrock", "id": "global.anthropic.claude-sonnet-4-6"}
_ANTHROPIC: Final[Data] = {"provider": "anthropic", "id": "claude-sonnet-4-6", "api_key_env": "ANTHROPIC_API_KEY"}


@st.composite
def _data(draw: st.DrawFn, compute: str, copies: bool) -> Data:
    bools = st.booleans()
    data: Data = {
        "postgres": draw(
            st.sampled_from(
                (
                    None,
                    {},
                    {"engine": "external", "url_env": "DATABASE_URL"},
                    {"min_acu": 0.5, "max_acu": 8, "readers": 2, "point_in_time": "14d", "monitoring_every": "0s"},
                    {"readers": 1, "copy_to_recovery_region": copies, "iam_auth": False},
                )
            )
        ),
        "objects": draw(
            st.sampled_from(
                (
                    None,
                    {},
                    {"bucket": "one-that-exists"},
                    {"versioning": False, "infrequent_after": None, "copy_to_recovery_region": False},
                    {"archive_after": "90d", "versions_kept": "30d", "copy_to_recovery_region": copies},
                )
            )
        ),
        "redis": draw(st.sampled_from((None, {}, {"multi_az": False}, {"url_env": "REDIS_URL"}))),
        "dynamodb": {
            "tables": draw(st.dictionaries(st.sampled_from(_TABLES), _tables(), max_size=3)),
            "point_in_time": draw(st.sampled_from(("35d", "7d"))),
            "copy_to_recovery_region": copies and draw(bools),
        },
        "graph": draw(st.sampled_from(("postgres", "neptune"))),
        "neptune": {"readers": draw(st.integers(0, 2))},
        "opensearch": {"standby": draw(bools)},
        "logs": draw(st.sampled_from(("cloudwatch", "cloudwatch", "opensearch"))),
        "log_domain": {"nodes": draw(st.sampled_from((1, 2, 3, 4)))},
        "keys": {"rotate_every": draw(st.sampled_from(("1y", "90d"))), "per_tenant": draw(bools)},
    }
    searches = ["pgvector", "opensearch"]
    if data["objects"] is not None:
        searches.append("bedrock-kb")
    data["search"] = draw(st.sampled_from(searches))
    return data


@st.composite
def _tables(draw: st.DrawFn) -> Data:
    table: Data = {"hash": "tenant"}
    if draw(st.booleans()):
        table["range"] = "at"
        table["numbers"] = ["at"]
    if draw(st.booleans()):
        table["indexes"] = {"by_model": {"hash": "model", "range": "cost"}}
    if draw(st.booleans()):
        table["ttl"] = "expires"
    return table


@st.composite
def _dependencies(draw: st.DrawFn) -> Data:
    kinds = {"mongodb": "mongodb", "warehouse": "postgres", "partners": "http"}
    chosen = draw(st.sets(st.sampled_from(tuple(_DEPENDENCIES))))
    return {
        name: {
            "kind": kinds[name],
            "port": _DEPENDENCIES[name],
            "secret": f"{name.upper()}_URL",
            "cidrs": draw(st.sampled_from(([], ["192.0.2.0/24"], ["10.8.0.0/16", "198.51.100.7/32"]))),
            "health": draw(st.sampled_from(("tcp", "none"))),
        }
        for name in sorted(chosen)
    }


@st.composite
def _components(draw: st.DrawFn, compute: str, data: Mapping[str, Any], spot: bool) -> Data:
    """Components whose stores there are: with what they need, which runs along."""
    possible = [
        name
        for name in CATALOG
        if all(data[store] is not None for part in closure([name]) for store in _COMPONENT_NEEDS[part])
    ]
    chosen = draw(st.sets(st.sampled_from(possible))) if possible else ()
    return {
        name: {
            "size": draw(st.sampled_from(("small", "medium"))),
            "scale": draw(_scales(compute)),
            "spot": spot and draw(st.booleans()),
        }
        for name in sorted(chosen)
    }


@st.composite
def _scales(draw: st.DrawFn, compute: str) -> Data:
    least = draw(st.integers(1, 3))
    most = draw(st.integers(least, 6))
    return {
        "min": least,
        "max": most,
        "cpu": draw(st.sampled_from(("70%", None))),
        "memory": draw(st.sampled_from(("80%", None))),
        "requests_per_minute": draw(st.sampled_from((1000, None))),
        "latency": draw(st.sampled_from(("2s", None))),
        "predictive": compute != "eks" and draw(st.booleans()),
        "schedule": draw(st.sampled_from(([], [{"at": "06:30 UTC weekdays", "min": least, "max": most}]))),
    }


def _needable(
    data: Mapping[str, Any], components: Mapping[str, Any], dependencies: Mapping[str, Any]
) -> tuple[str, ...]:
    """What a service may need, other services aside."""
    stores = [name for name in ("postgres", "objects", "redis") if data[name] is not None]
    tables = data["dynamodb"]["tables"]
    stores += ["dynamodb", *tables] if tables else []
    stores += ["neptune"] if data["graph"] == "neptune" else []
    stores += [data["search"]] if data["search"] == "opensearch" else []
    return (*stores, *sorted(closure(components)), *dependencies, "models")


@st.composite
def _services(draw: st.DrawFn, compute: str, needable: tuple[str, ...], spot: bool) -> Data:
    services: Data = {}
    for name in sorted(draw(st.sets(st.sampled_from(_SERVICES), max_size=3))):
        cpu, memory_mib = draw(st.sampled_from(_SIZES))
        service: Data = {
            "image": "./" + name,
            "port": 3000 + _SERVICES.index(name),
            "cpu": cpu,
            "memory_mib": memory_mib,
            "needs": sorted(draw(st.sets(st.sampled_from((*needable, *services)), max_size=4))),
            "health": draw(st.sampled_from(("/health", None))),
            "environment": draw(st.sampled_from(({}, {"LOG_LEVEL": "info"}))),
            "secrets": draw(st.sampled_from(([], ["SESSION_SECRET"]))),
            "spot": compute == "fargate" and spot and draw(st.booleans()),
        }
        service |= draw(_copies(compute))
        service |= draw(st.sampled_from(({}, {"route": f"/{name}/*"}, {"route": f"/{name}/*", "exposure": "internal"})))
        if name == "vectors":  # a data store of the user's own
            service |= {"image": f"qdrant/qdrant@{_DIGEST}", "port": 6333, "exposure": "internal"}
        services[name] = service
    return services


@st.composite
def _copies(draw: st.DrawFn, compute: str) -> Data:
    kind = draw(st.sampled_from(("fixed", "scaled", "efs", "host")))
    if kind == "scaled":
        return {"scale": draw(_scales(compute))}
    if kind == "efs" and compute != "eks":
        return {"count": draw(st.integers(1, 2)), "volume": {"kind": "efs", "path": "/data", "size": "5GiB"}}
    if kind == "host" and compute == "ec2":
        return {"count": 1, "volume": {"kind": "host", "path": "/data"}}
    return {"count": draw(st.integers(1, 3))}


def _serves(components: Mapping[str, Any], services: Mapping[str, Any]) -> bool:
    routed = (each for each in services.values() if "route" in each and each.get("exposure", "public") == "public")
    return bool(components) or any(routed)


@st.composite
def _network(draw: st.DrawFn, compute: str, closed: bool) -> Data:
    if not closed and draw(st.integers(0, 5)) == 0:
        return {"vpc": "vpc-0123456789abcdef0", "subnets": draw(_existing_subnets())}
    azs = draw(st.integers(2 if compute == "eks" else 1, 3))
    isolated = draw(st.booleans())
    network: Data = {
        "cidr": draw(st.sampled_from(("10.0.0.0/16", "172.20.0.0/17"))),
        "azs": azs,
        "nat": "none" if closed else draw(st.sampled_from(("single", "per-az"))),
        "tiers": ["public", "private", *(["isolated"] if isolated else [])],
        "flow_logs": draw(st.booleans()),
        "acls": draw(st.booleans()),
        "endpoints": list(_ALL_ENDPOINTS if closed else draw(st.sampled_from((_FREE_ENDPOINTS, _ALL_ENDPOINTS)))),
    }
    if closed and draw(st.booleans()):
        network["tiers"].remove("public")
    if network["cidr"] == "10.0.0.0/16" and draw(st.booleans()):
        zones = max(azs, 2)
        network["subnets"] = {
            tier: [f"10.0.{16 * (zones * index + zone)}.0/20" for zone in range(zones)]
            for index, tier in enumerate(network["tiers"])
        }
    return network


@st.composite
def _existing_subnets(draw: st.DrawFn) -> Data:
    zones = draw(st.integers(2, 3))
    tiers = ["private", *draw(st.sampled_from(((), ("public",), ("public", "isolated"))))]
    return {tier: [f"subnet-{index}{zone}0123456789abcde" for zone in range(zones)] for index, tier in enumerate(tiers)}


def _tiers_of(network: Mapping[str, Any]) -> Sequence[str]:
    return tuple(network["subnets"]) if "vpc" in network else network["tiers"]


@st.composite
def _edge(draw: st.DrawFn, serves: bool, public: bool) -> Data:
    edge: Data = {
        "api_gateway": (serves and not public) or draw(st.booleans()),
        "cdn": draw(st.booleans()),
        "access_logs": draw(st.booleans()),
        "tls": draw(st.sampled_from(("1.3", "1.2"))),
        "cors": draw(st.sampled_from(([], ["https://app.example.com", "http://localhost:3000"]))),
    }
    edge["waf"] = (serves or edge["cdn"]) and draw(st.booleans())
    if (serves and not edge["api_gateway"]) or draw(st.booleans()):
        edge["domain"] = {"name": "drawn.example.com", "zone_id": "Z0123456789EXAMPLE"}
        if draw(st.booleans()):
            edge["domain"]["certificate"] = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b"
    return edge


@st.composite
def _models(draw: st.DrawFn, closed: bool) -> Data:
    some: list[Data] = [{}, {"default": "claude", "available": {"claude": {**_BEDROCK, "fallback": ["extractive"]}}}]
    if not closed:
        some.append({"default": "claude", "available": {"claude": _ANTHROPIC}})
    return draw(st.sampled_from(some))


@st.composite
def _identity(draw: st.DrawFn, closed: bool) -> Data:
    identity: Data = {"mfa": draw(st.sampled_from(("off", "optional", "required")))}
    if not closed and draw(st.booleans()):
        identity["user_pool"] = {
            "machine_clients": draw(st.sampled_from(([], ["checkout"], ["agents", "checkout"]))),
            "advanced_security": draw(st.booleans()),
            "identity_pool": draw(st.booleans()),
        }
    return identity


@st.composite
def _monitoring(draw: st.DrawFn) -> Data:
    return {
        "notify": {
            "critical": draw(st.sampled_from(([], ["oncall@example.com", "+12025550143", "PAGER_URL"]))),
            "warning": draw(st.sampled_from(([], ["platform@example.com"]))),
            "security": draw(st.sampled_from(([], ["security@example.com"]))),
        },
        "synthetic_every": draw(st.sampled_from(("5m", "1m", None))),
        "log_retention": draw(st.sampled_from(("7d", "30d"))),
        "tracing": draw(st.booleans()),
        "container_insights": draw(st.booleans()),
        "first_response": draw(st.booleans()),
    }


@st.composite
def _recovery(draw: st.DrawFn, copies: bool, domain: bool) -> Data:
    backups: Data = {"daily": draw(st.sampled_from(("35d", "7d", {"keep": "1y", "cold_after": "30d"})))}
    if draw(st.booleans()):
        backups |= {"weekly": "1y", "monthly": {"keep": "7y", "cold_after": "30d"}}
    recovery: Data = {"backups": backups, "region": "us-west-2" if copies else None}
    recovery["failover"] = copies and domain and draw(st.booleans())
    return recovery


@st.composite
def _delivery(draw: st.DrawFn, compute: str) -> Data:
    return {
        "github": draw(st.sampled_from((None, "example/drawn"))),
        "boundary": draw(st.sampled_from((None, "DeveloperBoundary"))),
        "strategy": "rolling" if compute == "eks" else draw(st.sampled_from(("rolling", "blue-green"))),
    }


@st.composite
def _agents(draw: st.DrawFn, data: Mapping[str, Any]) -> Data:
    bases = (None, {}, {"dimensions": 512, "chunk_tokens": 500, "overlap": "10%", "refresh": "1d"})
    return {
        "bedrock_agent": draw(st.integers(0, 3)) == 0,
        "knowledge_base": None if data["objects"] is None else draw(st.sampled_from(bases)),
    }
