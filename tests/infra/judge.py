"""The judgement of an assembly: what its templates do, beside what its manifest says. Sentences, one a fault.

`reachability` and `rights` read the templates, `declared` the manifest, `custody` looks at what holds data.
"""

from collections.abc import Iterator

from slipway.infra.app import Assembly
from tests.infra.custody import exposed, unkept
from tests.infra.declared import Declared
from tests.infra.reachability import INTERNET, WORLD, Network, Reach
from tests.infra.reading import Templates
from tests.infra.rights import Right, Rights

# Nodes carry pods and are held to no need of their own: EKS's own group opens them to each other.
_HOSTS = frozenset({"nodes", "builds"})


def faults(assembly: Assembly) -> list[str]:
    """Everything that is not as the manifest says, or that no manifest may say."""
    templates = Templates(assembly)
    network, declared = Network(templates), Declared(assembly.site.manifest)
    lasting = not assembly.site.manifest.template
    return sorted(
        {
            *_absent(network, declared),
            *_within(network, declared),
            *_outward(network, declared),
            *_by_right(Rights(templates, network), declared),
            *exposed(templates, network),
            *(unkept(templates) if lasting else ()),
        }
    )


def _absent(network: Network, declared: Declared) -> Iterator[str]:
    present = {name for _, name in network.nodes}
    for name, part in declared.parts.items():
        wanted = (name, *declared.inside(name), *((f"{name}-files",) if part.files else ()))
        for each in wanted:
            if each not in present:
                yield f"{name} needs {each}, which stands nowhere" if each != name else f"{name} runs nowhere"


def _within(network: Network, declared: Declared) -> Iterator[str]:
    present = {name for _, name in network.nodes} | {INTERNET}
    public = {(reach.target, reach.port) for reach in network.reaches() if reach.source == INTERNET}
    pods = {name for (_, name), node in network.nodes.items() if node.labels is not None}

    def judged(reach: Reach) -> bool:
        if _HOSTS.intersection((reach.source, reach.target)):
            return False
        return reach.source == INTERNET or (reach.target, reach.port) not in public

    found = {reach for reach in network.reaches() if judged(reach)}
    wanted = {reach for reach in declared.reaches() if {reach.source, reach.target} <= present and judged(reach)}
    for reach in sorted(found - wanted):
        # Pods share their node's group and each calls AWS at 443, wherever that is: whose need it is, IAM says.
        if not (reach.source in pods and reach.port == "443"):
            yield f"{reach}, and nothing needs that"
    for reach in sorted(wanted - found):
        yield f"{reach.source} does not reach {reach.target} at {reach.port}, which it needs"
    for store in sorted(_stores(network)):
        for cidr in sorted(network.entered(store)):
            yield f"{store} lets addresses in: {cidr}"


def _outward(network: Network, declared: Declared) -> Iterator[str]:
    found = network.ways_out()
    for name in declared.parts:
        wanted = declared.ways_out(name)
        leaving = {reach for reach in found if reach.source == name}
        yield from (f"{reach}, and nothing needs that" for reach in sorted(leaving - wanted))
        if network.leads_out(name):
            for reach in sorted(wanted - leaving):
                if Reach(name, WORLD, reach.port) not in leaving:
                    yield f"{name} does not reach {reach.target} at {reach.port}, which it needs"
    for reach in sorted(found):
        if reach.source in _stores(network):
            yield f"{reach}: a store calls nobody"


def _stores(network: Network) -> frozenset[str]:
    return frozenset(name for (_, name), node in network.nodes.items() if node.store)


def _by_right(rights: Rights, declared: Declared) -> Iterator[str]:
    by_name, handed = rights.of_workloads(), rights.handed()
    for name in declared.parts:
        found = {_unnamed(right) for right in by_name.get(name, ())}
        wanted = declared.rights(name)
        yield from (f"{name} may {right}, and nothing needs that" for right in sorted(found - wanted))
        yield from (f"{name} may not {right}, which it needs" for right in sorted(wanted - found))
        given, due = handed.get(name, frozenset()), declared.secrets(name)
        yield from (f"{name} is handed the secret {each}, and nothing needs that" for each in sorted(given - due))
        yield from (f"{name} is not handed the secret {each}, which it needs" for each in sorted(due - given))
    entitled, due = rights.entitled("data"), declared.entitled()
    yield from (f"{name} is in the collection's policy, and nothing needs that" for name in sorted(entitled - due))
    yield from (f"{name} is not in the collection's policy, and needs it" for name in sorted(due - entitled))


def _unnamed(right: Right) -> Right:
    """Flags of features have ids that AWS makes: one configuration, and no manifest names it."""
    flags = right.on.startswith("appconfig:application/<") and "*" not in right.on
    return Right(right.action, "appconfig", right.when) if flags else right
