"""Recovery objectives against what the declared means can give, store by store.

Two losses are asked about: the store itself (deleted or corrupted, its region alive), and, when
`recovery.region` is set, the whole first region. For each, a store reaches a recovery point (how old the
newest usable copy is) and a recovery time (until the platform serves from it). The arithmetic stands in
`reach`.
"""

from collections.abc import Iterator

from slipway.manifest.fields import nearest
from slipway.manifest.problems import Finding
from slipway.manifest.rules.reach import Reach, reaches
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.recovery import AcceptedGap
from slipway.manifest.units import Duration


def recovery_region(manifest: Manifest) -> Iterator[Finding]:
    """The region to recover in is another one, and there is one if a store is copied to it."""
    postgres, tables = manifest.data.postgres, manifest.data.dynamodb
    copied = {
        "postgres": postgres is not None and postgres.copy_to_recovery_region,
        "dynamodb": tables.copy_to_recovery_region,
    }
    for store, to_recovery_region in copied.items():
        if to_recovery_region and manifest.recovery.region is None:
            yield Finding(
                ("data", store, "copy_to_recovery_region"),
                "there is no recovery region to copy to: write recovery.region, like us-west-2",
            )
    if manifest.region is not None and manifest.region == manifest.recovery.region:
        yield Finding(("recovery", "region"), f"{manifest.region} is the region that would be lost: write another one")


def missed(manifest: Manifest) -> Iterator[Finding]:
    """Each store reaches the objectives, or stands under `accepted_gaps` with the figure that it does reach."""
    objectives = manifest.recovery.objectives
    if objectives is None:
        return
    gaps = {gap.store: (index, gap) for index, gap in enumerate(manifest.recovery.accepted_gaps)}
    for reach in reaches(manifest):
        for kind, limit in (("rpo", objectives.rpo), ("rto", objectives.rto)):
            figure = reach.rpo if kind == "rpo" else reach.rto
            if figure is not None and figure <= limit:
                continue
            index, gap = gaps.get(reach.store, (0, None))
            said = _stated(gap, kind)
            if gap is None or said is None:
                yield Finding(("recovery", "objectives", kind), _miss(reach, kind, figure, limit))
            elif figure is None or said < figure:
                yield Finding(("recovery", "accepted_gaps", index, kind), _understated(reach, figure, said))


def gaps_named(manifest: Manifest) -> Iterator[Finding]:
    """An accepted gap names a store that there is."""
    stores = tuple(dict.fromkeys(reach.store for reach in reaches(manifest)))
    for index, gap in enumerate(manifest.recovery.accepted_gaps):
        if gap.store not in stores:
            near = nearest(gap.store, stores)
            meant = f"did you mean `{near}`?" if near else f"the stores are {', '.join(stores)}"
            yield Finding(
                ("recovery", "accepted_gaps", index, "store"), f"there is no store `{gap.store}` here: {meant}"
            )


def _stated(gap: AcceptedGap | None, kind: str) -> Duration | None:
    if gap is None:
        return None
    return gap.rpo if kind == "rpo" else gap.rto


def _understated(reach: Reach, figure: Duration | None, said: Duration) -> str:
    if figure is None:
        return f"{reach.store} cannot be brought back when {reach.loss}: {reach.instead}; no figure holds for that"
    return (
        f"{reach.store} reaches {figure} when {reach.loss} ({reach.means}), not {said}: write the figure it does reach"
    )


def _miss(reach: Reach, kind: str, figure: Duration | None, limit: Duration) -> str:
    noun = "may lose" if kind == "rpo" else "takes"
    what = f"{noun} {figure}" if figure is not None else "cannot be brought back"
    accept = f"{{store: {reach.store}, {kind}: {figure}, why: …}}" if figure is not None else ""
    instead = f"{reach.instead}, or accept it under recovery.accepted_gaps: {accept}" if accept else reach.instead
    return f"{reach.store} {what} when {reach.loss} ({reach.means}), and the objective is {limit}: {instead}"
