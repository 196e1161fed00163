"""A candidate: a variant of the subgraph at a site, that can be timed, compared, and put into a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from sepfactor.codes import Precision
from sepfactor.factor import Factorization, Rank
from sepfactor.factor.stage import Array
from sepfactor.graph.averages import move_averages
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import Site
from sepfactor.search.stored import StoredFactorization
from sepfactor.text import rank_text


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate(ABC):
    """One variant of one site.

    Attributes:
        scheme: name of the scheme.
        form: its chain in a few signs.
        rank: of the scheme; () where it has none.
        macs: multiply-accumulates on the site's map.
        weight_error: relative, ``‖W − W'‖ / ‖W‖``.
        output_error: relative, of the layer alone on the sample of patches.
        weighted_error: the same as those who read the answer see it: behind a ReLU, and as their kernels
            weigh it.
        exact: nothing but rounding is lost.
        precision: what it computes in.
        has_own_loss: whether what it costs at the output is measured for itself; else it is read off a curve
            over the errors of all candidates of its layer.
        can_be_made_up_for: whether layers behind are fitted to make up for its error.
    """

    scheme: str
    form: str
    rank: Rank
    macs: int
    weight_error: float
    output_error: float
    weighted_error: float
    exact: bool
    precision: Precision = "float"

    has_own_loss: ClassVar[bool] = False
    can_be_made_up_for: ClassVar[bool] = True

    @property
    @abstractmethod
    def to_time(self) -> Factorization:
        """What takes as long as it, as numbers."""

    @abstractmethod
    def parameters(self, bias: Array | None) -> int:
        """Weights and biases of what is written; ``bias`` is that of the layer, which it takes over."""

    @abstractmethod
    def apply_to(self, prepared: ir.Model, site: Site) -> ir.Model:
        """A copy of the network in which this variant, unfitted and in float, stands at the site."""

    @property
    def label(self) -> str:
        """Scheme and rank, for people."""
        return f"{self.scheme} {rank_text(self.rank)}".strip() + (" int8" if self.is_int8 else "")

    @property
    def is_int8(self) -> bool:
        """Whether it computes in eight bits."""
        return self.precision == "int8"

    @property
    def family(self) -> str:
        """What candidates have in common whose times in a network come out alike."""
        return f"{self.scheme} int8" if self.is_int8 else self.scheme


@dataclass(frozen=True, eq=False, kw_only=True)
class Factorized(Candidate):
    """A sum of chains in place of the layer.

    Attributes:
        stored: those chains, fitted to the layer alone.
    """

    stored: StoredFactorization

    @property
    def factorization(self) -> Factorization:
        """Those chains."""
        return self.stored.load()

    @property
    def to_time(self) -> Factorization:
        """The chains themselves."""
        return self.factorization

    def parameters(self, bias: Array | None) -> int:
        """Those of the chains; a bias the layer has, they have as well."""
        outline = self.stored.outline
        inherited = 0 if bias is None or outline.bias is not None else bias.size
        return outline.parameters + inherited

    def apply_to(self, prepared: ir.Model, site: Site) -> ir.Model:
        """With the chains in place of the node."""
        return rebuild(prepared, [Replacement(site, self.factorization, {})]).model


@dataclass(frozen=True, eq=False, kw_only=True)
class Averaged(Candidate):
    """The layer itself, behind an average over blocks of what it reads; ``rank`` is the block.

    Attributes:
        dense: the layer.
        timed: the average and the layer, as numbers.
    """

    dense: Factorization
    timed: Factorization

    has_own_loss: ClassVar[bool] = True
    can_be_made_up_for: ClassVar[bool] = False

    @property
    def to_time(self) -> Factorization:
        """The average and the layer."""
        return self.timed

    def parameters(self, bias: Array | None) -> int:
        """Those of the layer: an average has none to learn."""
        return self.dense.parameters

    def apply_to(self, prepared: ir.Model, site: Site) -> ir.Model:
        """With the average moved before the layer."""
        return move_averages(prepared, {site.output: self.rank}).model
