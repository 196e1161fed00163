"""What a network that was written says of where it comes from."""

from __future__ import annotations

from sepfactor.results.base import Frozen


class Provenance(Frozen):
    """Who made a network, of which, and how. Nothing in it differs from machine to machine.

    Attributes:
        version: of sepfactor.
        source: SHA-256 of the file it was made of, followed by its files of external data.
        plan: digest of what was built, see :meth:`sepfactor.Plan.digest`; None where it was only rewritten.
        budget: what was asked for when the plan was chosen, as ``min-snr 35``; None where that is not known.
    """

    version: str
    source: str
    plan: str | None = None
    budget: str | None = None

    @property
    def line(self) -> str:
        """All of it in a sentence."""
        how = "rewritten exactly" if self.plan is None else f"by the plan {self.plan[:12]}"
        asked = f", for {self.budget}" if self.budget else ""
        return f"Made by sepfactor {self.version} of the network {self.source[:12]}, {how}{asked}."


__all__ = ["Provenance"]
