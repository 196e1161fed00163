"""Networks that onnxruntime cannot run: what is run in their place, and how they are written all the same."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from sepfactor.codes import Reason
from sepfactor.errors import ModelError
from sepfactor.factor.stage import Ints
from sepfactor.graph import stand_in
from sepfactor.graph.averages import move_averages
from sepfactor.graph.instrument import serialized
from sepfactor.graph.load import PROTOBUF_LIMIT, Loaded, load, refusing
from sepfactor.graph.opset import with_opset
from sepfactor.graph.prepare import may_change_speed, prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.stand_in import Operator, Recipe
from sepfactor.graph.survey import Site, survey
from sepfactor.measure.engine import Engine
from sepfactor.measure.onnxruntime_session import known_operators
from sepfactor.results import RewriteRow
from sepfactor.study.rewrite_times import PREPARE

_CULPRITS = (r"of operator \((\w+)\)", r"implementation for (\w+)\(")
"""How onnxruntime names an operator that it has no kernel for."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network to work on, which onnxruntime runs as it is.

    Attributes:
        loaded: as it is run.
        prepared: the same made plain.
        sites: its convolutions, in the order they run in.
        notes: what a reader must know of it, in sentences.
        rewritten: exact rewritings that found something, and whether their work is in ``prepared``.
    """

    loaded: Loaded
    prepared: ir.Model
    sites: tuple[Site, ...]
    notes: tuple[str, ...] = ()
    rewritten: tuple[RewriteRow, ...] = ()

    @property
    def source(self) -> Loaded:
        """The network as it was handed in."""
        return self.loaded

    @property
    def is_stand_in(self) -> bool:
        """Whether what is run stands in for a network that onnxruntime cannot run."""
        return False

    @property
    def may_be_rewritten(self) -> bool:
        """Whether what is written is what is run, so that it can be rewritten as a whole."""
        return True

    @property
    def may_be_raised(self) -> bool:
        """Whether what is written is what is run, so that it may be of another operator set."""
        return True

    @property
    def rewrites(self) -> tuple[str, ...]:
        """Names of the exact rewritings whose work is in ``prepared``."""
        return tuple(row.rule for row in self.rewritten if row.kept and row.rule != PREPARE.name)

    @property
    def is_tidied(self) -> bool:
        """Whether ``prepared`` may be faster than what was loaded, though nothing is factored."""
        return bool(self.rewrites) or may_change_speed(self.loaded.model, self.prepared)

    def with_rewrites(
        self, model: ir.Model, rows: Sequence[RewriteRow], *, linear_layers: bool = False
    ) -> Network:
        """The same, where ``prepared`` became ``model`` by exact rewritings."""
        sites = tuple(survey(model, linear_layers=linear_layers))
        return replace(self, prepared=model, sites=sites, rewritten=tuple(rows))

    def in_opset(self, least: int, *, linear_layers: bool = False) -> Network:
        """The same with ``prepared`` in operator set ``least`` or above; as it is where that cannot be."""
        raised = with_opset(self.prepared, least) if self.may_be_raised else None
        if raised is None or raised is self.prepared:
            return self
        sites = tuple(survey(raised, linear_layers=linear_layers))
        return replace(self, prepared=raised, sites=sites)

    def written_dtype(self, site: Site) -> np.dtype[np.floating]:
        """The type that weights of a site have in the file."""
        return site.dtype

    def to_write(
        self, rebuilt: ir.Model, replacements: Sequence[Replacement], blocks: Mapping[str, Ints]
    ) -> ir.Model:
        """The network to write, where what is run became ``rebuilt``.

        Args:
            rebuilt: of ``prepared``.
            replacements: that were put into it.
            blocks: of averages that come first, see :func:`~sepfactor.graph.averages.move_averages`.
        """
        return rebuilt

    def runnable(self, written: Path) -> Path | bytes:
        """What is run of a file that holds the result."""
        return written


@dataclass(frozen=True, eq=False)
class StandIn(Network):
    """What is run of a network that onnxruntime cannot run.

    Attributes:
        original: the network as it was handed in.
        original_prepared: the same made plain.
        recipe: how its stand-in was made.
        dtypes: of the weights of ``sites``, in their order.
    """

    original: Loaded = field(kw_only=True)
    original_prepared: ir.Model = field(kw_only=True)
    recipe: Recipe = field(kw_only=True)
    dtypes: tuple[np.dtype[np.floating], ...] = field(kw_only=True)

    @property
    def source(self) -> Loaded:
        """The network as it was handed in."""
        return self.original

    @property
    def is_stand_in(self) -> bool:
        """It does."""
        return True

    @property
    def may_be_rewritten(self) -> bool:
        """What is made is put into another network."""
        return False

    @property
    def may_be_raised(self) -> bool:
        """What is made is put into another network."""
        return False

    def written_dtype(self, site: Site) -> np.dtype[np.floating]:
        """The type that weights of a site have in the file."""
        outputs = [own.output for own in self.sites]
        return self.dtypes[outputs.index(site.output)]

    def to_write(
        self, rebuilt: ir.Model, replacements: Sequence[Replacement], blocks: Mapping[str, Ints]
    ) -> ir.Model:
        """The network as it was handed in, with what was made for its stand-in."""
        held = stand_in.with_outputs_held(self.original_prepared, self.recipe.read)
        own = [
            replace(one, site=replace(one.site, dtype=self.written_dtype(one.site))) for one in replacements
        ]
        model = rebuild(move_averages(held, blocks).model, own).model
        outputs = {value.name for value in self.original_prepared.graph.outputs}
        stand_in.let_go(model, self.recipe.read, outputs)
        return model

    def runnable(self, written: Path) -> bytes:
        """The stand-in of what a file holds."""
        return serialized(self.recipe(load(written).model))


def open_network(
    loaded: Loaded, engine: Engine, *, dequantize: bool = False, linear_layers: bool = False
) -> Network:
    """Make a network plain and find its convolutions; where it cannot be run, those of a stand-in.

    Raises:
        ModelError: it cannot be run, and nothing that could be gained from would be left of it.
    """
    prepared = prepare(loaded.model, dequantized=dequantize)
    sites = tuple(survey(prepared, linear_layers=linear_layers))
    with refusing(loaded.name):  # such as tensors of no type
        unknown = stand_in.unknown_operators(loaded.model, known_operators())
        types = stand_in.rare_types(loaded.model)
    refused = _refused(loaded.runnable, engine) if unknown or types else None
    if refused is None:
        return Network(loaded, prepared, sites)
    if not stand_in.are_declared(unknown, loaded.model):
        raise refused
    recipe, notes = stand_in.recipe_for(loaded.model, prepared, unknown), []
    in_place = _made(loaded, recipe)
    reason: ModelError | None = refused
    if unknown:
        notes.append(_note_of_removed(unknown, loaded.model))
        reason = _refused(in_place.runnable, engine)
    if reason is not None and types:
        _check_size(loaded)
        notes.append(_note_of_type(reason, types, first=not notes))
        recipe = replace(recipe, types=types)
        in_place = _made(loaded, recipe)
        reason = _refused(in_place.runnable, engine)
    plain = recipe(prepared)
    runs = {site.output: site for site in survey(plain, linear_layers=linear_layers)}
    if not any(site.stage is not None for site in runs.values()):
        raise refused
    if reason is not None:
        raise reason if unknown else refused
    return StandIn(
        replace(in_place, notes=(*notes, *loaded.notes)),
        plain,
        _all_sites(prepared, sites, runs, unknown),
        tuple(notes),
        original=loaded,
        original_prepared=prepared,
        recipe=recipe,
        dtypes=tuple(site.dtype for site in sites),
    )


def _made(loaded: Loaded, recipe: Recipe) -> Loaded:
    model = recipe(loaded.model)
    return Loaded(model, serialized(model), loaded.name)


def _refused(model: Path | bytes, engine: Engine) -> ModelError | None:
    """What onnxruntime has against a model."""
    try:
        engine.open(model)
    except ModelError as error:
        return error
    return None


_NOT_READ = Reason("not-read", "nothing that onnxruntime can run reads what it answers")


def _all_sites(
    prepared: ir.Model, sites: Sequence[Site], runs: Mapping[str, Site], unknown: Collection[Operator]
) -> tuple[Site, ...]:
    """The sites of a network as its stand-in has them; others with why it does not."""
    why = stand_in.reasons(prepared, sites, unknown)
    found = []
    for site in sites:
        if site.output in runs or site.skipped is not None:
            found.append(runs.get(site.output, site))
        else:
            missing = why.get(site.output)
            found.append(
                replace(
                    site,
                    stage=None,
                    bias=None,
                    skipped=missing or _NOT_READ,
                )
            )
    return tuple(found)


def _check_size(loaded: Loaded) -> None:
    tensors = (v.const_value for graph in loaded.model.graphs() for v in graph.initializers.values())
    if 2 * sum(tensor.nbytes for tensor in tensors if tensor is not None) > PROTOBUF_LIMIT:
        raise ModelError(
            f"onnxruntime cannot run {loaded.name} in the type it is in, and a float32 copy to measure in "
            "its place may be larger than 2 GB. Export it in float32 or float16."
        )


def _note_of_removed(unknown: Collection[Operator], model: ir.Model) -> str:
    gone, whole = stand_in.removed(model, unknown), len(model.graph)
    return (
        f"onnxruntime CANNOT RUN THIS NETWORK: it does not know {stand_in.in_words(unknown, model)}. "
        f"{whole - gone} of its {whole} nodes do not depend on that, and were run in its place. Accuracy and "
        "speed are of those, up to the values that the rest reads; what the rest makes of them was not seen."
    )


def _note_of_type(refused: ModelError, types: Collection[ir.DataType], first: bool) -> str:
    names = (re.search(pattern, str(refused)) for pattern in _CULPRITS)
    operator = next((f" for {found[1]}" for found in names if found), "")
    kinds = " or ".join(sorted(kind.name.lower() for kind in types))
    lacks = f"has no {kinds} kernel{operator}"
    start = f"CANNOT RUN THIS NETWORK: it {lacks}" if first else f"{lacks} either"
    return (
        f"onnxruntime {start}. A float32 copy was run in its place. Accuracy and speed are of that copy: it "
        "has the weights of the file, but computes in float32."
    )
