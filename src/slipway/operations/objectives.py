"""What each store reaches after a loss, beside the objectives that the manifest declares.

The arithmetic is the manifest's (`rules.reach`), which already refused what misses without being accepted. Here it
becomes lines of the plan, so that whoever deploys sees the figures and the gaps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from slipway.manifest.rules.reach import reaches
from slipway.manifest.schema import Manifest

Verdict = Literal["met", "accepted", "missed", "not asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One store after one loss. Figures as the manifest writes them; None is never. `why` is the accepted gap's."""

    store: str
    loss: str
    means: str
    rpo: str | None
    rto: str | None
    wanted_rpo: str | None
    wanted_rto: str | None
    verdict: Verdict
    why: str = ""


def objectives(manifest: Manifest) -> Iterator[Objective]:
    """A line for each store and loss."""
    wanted = manifest.recovery.objectives
    gaps = {gap.store: gap for gap in manifest.recovery.accepted_gaps}
    for reach in reaches(manifest):
        verdict: Verdict = "not asked"
        gap = gaps.get(reach.store)
        if wanted is not None:
            met = (reach.rpo is not None and reach.rpo <= wanted.rpo) and (
                reach.rto is not None and reach.rto <= wanted.rto
            )
            verdict = "met" if met else "accepted" if gap is not None else "missed"
        yield Objective(
            store=reach.store,
            loss=reach.loss,
            means=reach.means,
            rpo=None if reach.rpo is None else str(reach.rpo),
            rto=None if reach.rto is None else str(reach.rto),
            wanted_rpo=None if wanted is None else str(wanted.rpo),
            wanted_rto=None if wanted is None else str(wanted.rto),
            verdict=verdict,
            why=gap.why if gap is not None and verdict == "accepted" else "",
        )
