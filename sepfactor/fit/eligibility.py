"""Why a site cannot be replaced in this run, whatever its candidates."""

from __future__ import annotations

from sepfactor.codes import Reason
from sepfactor.fit.evidence import Evidence
from sepfactor.fit.settings import FitMethod, has_room, moment_bytes
from sepfactor.options import Options

LEFT_ALONE = Reason("ignored", "left alone as asked")


def obstacle(evidence: Evidence, options: Options, method: FitMethod) -> Reason | None:
    """Why a site is kept without looking for candidates; None if they may be looked for."""
    site = evidence.site
    if options.for_layer(site.name, site.output).keep:
        return LEFT_ALONE
    if site.skipped is not None:
        return site.skipped
    assert site.stage is not None  # of what is not skipped
    if method.ridge is not None and not has_room(site.stage, options):
        takes = f"{site.stage.weight[0].size:,} entries, {moment_bytes(site.stage) / 1e9:.1f} GB"
        return Reason("no-room", "the moments of its patches do not fit into --memory", takes)
    if not evidence.patches:
        stacked = ", or not in turns of one size" if site.nested else ""
        return Reason("not-run", f"it did not run on the data{stacked}: its map is unknown")
    return None
