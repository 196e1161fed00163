"""Apply rules to a graph until none of them finds anything more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
import onnx_ir.passes.common as passes

from sepfactor.graph.load import quiet, refusing
from sepfactor.graph.prepare import infer_shapes
from sepfactor.graph.rewrites.opset import raised
from sepfactor.graph.rewrites.rule import Build, Edit, Rule
from sepfactor.graph.writer import free_prefix, taken_names

_MOST_ROUNDS = 50
"""Each rule removes what it looks for; this is for a pair that might undo one another."""

_LEAST_OPSET = 7
"""Before, elementwise operators did not broadcast as they do now."""


@dataclass(frozen=True, eq=False)
class Rewritten:
    """A model with rules applied.

    Attributes:
        model: a copy; where no rule found anything, the model that was given, which is always as it was.
        counts: name of a rule → how often it was applied; rules that found nothing are left out.
        notes: why places that look like a rule's stayed, in sentences.
    """

    model: ir.Model
    counts: Mapping[str, int]
    notes: tuple[str, ...]


def apply(model: ir.Model, rules: Sequence[Rule]) -> Rewritten:
    """A copy of ``model`` in which ``rules`` are applied, each wherever it holds, again and again.

    Outputs of the graph keep names, types and shapes; values that are outputs are still computed. Bodies
    of If, Loop and Scan are rewritten like the graph around them, functions are not.

    Args:
        model: prepared (:func:`sepfactor.graph.prepare.prepare`), so that constants are initialisers and
            shapes are known.
        rules: in the order in which they are tried.

    Raises:
        ModelError: the graph is so far from valid ONNX that it cannot be gone through.
    """
    with quiet(), refusing("The model"):
        if model.opset_imports.get("", 1) < _LEAST_OPSET:
            return Rewritten(model, {}, (f"Models of an opset below {_LEAST_OPSET} are not rewritten.",))
        look = _Run(model)
        if not look.finds_any(rules):
            return Rewritten(model, {}, look.notes())
        run = _Run(model.clone())
        for _ in range(_MOST_ROUNDS):
            if not sum([run.sweep(rule) for rule in rules]):
                break
        if not run.counts:
            return Rewritten(model, {}, run.notes())
        _clean(run.model)
        return Rewritten(run.model, dict(run.counts), run.notes())


class _Run:
    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.counts: Counter[str] = Counter()
        self._stayed: dict[tuple[str, str], set[str]] = {}
        self._taken = taken_names(model.graph)
        self._refused: set[str] = set()

    @property
    def opset(self) -> int:
        return self.model.opset_imports.get("", 1)

    def finds_any(self, rules: Sequence[Rule]) -> bool:
        """Whether any rule holds anywhere; nothing is changed."""
        nodes = [*self.model.graph.all_nodes()]
        found = [
            self._check(rule, node, max(rule.opset, self.opset)) is not None
            for rule in rules
            for node in nodes
        ]
        return any(found)

    def sweep(self, rule: Rule) -> int:
        """Apply a rule once wherever it holds; how often that was."""
        if rule.name in self._refused:
            return 0
        if rule.opset > self.opset and not self._raise_for(rule):
            return 0
        done = 0
        for node in [*self.model.graph.all_nodes()]:
            graph = node.graph
            if not isinstance(graph, ir.Graph):
                continue  # it was removed on the way
            found = self._check(rule, node, self.opset)
            if found is not None:
                self._replace(graph, node, rule, found)
                done += 1
        if done:
            self.counts[rule.name] += done
            infer_shapes(self.model)
        return done

    def notes(self) -> tuple[str, ...]:
        return tuple(
            f"{rule}: {len(where)} place{'s' * (len(where) > 1)} stayed: {reason}."
            for (rule, reason), where in self._stayed.items()
        )

    def _check(self, rule: Rule, node: ir.Node, opset: int) -> Build | None:
        if node.domain not in ("", "ai.onnx") or not node.outputs or not node.inputs:
            return None
        found = rule.check(node, opset)
        if isinstance(found, str):
            self._stayed.setdefault((rule.name, found), set()).add(str(node.outputs[0].name))
            return None
        return found

    def _raise_for(self, rule: Rule) -> bool:
        """Bring the model to the opset a rule needs, if the rule finds anything and the model can be."""
        found_any = [self._check(rule, node, rule.opset) for node in self.model.graph.all_nodes()]
        if not any(found_any):
            return False
        found = raised(self.model, rule.opset)
        if isinstance(found, str):
            self._stayed[rule.name, found] = {""}
            self._refused.add(rule.name)
            return False
        self.model = found
        self._taken = taken_names(found.graph)
        return True

    def _replace(self, graph: ir.Graph, node: ir.Node, rule: Rule, build: Build) -> None:
        prefix = free_prefix(f"{node.name or node.outputs[0].name}/{rule.name}", self._taken)
        edit = Edit(prefix, rule.name, self.opset)
        pairs = build(edit)
        for value in edit.initializers:
            graph.register_initializer(value)
        inputs = [value for value in node.inputs if value is not None]
        noted = [(new, dict(old.metadata_props)) for old, new in pairs.items()]
        ir.convenience.replace_nodes_and_values(
            graph, node, [], edit.nodes, [*pairs.keys()], [*pairs.values()]
        )
        for new, props in noted:
            new.metadata_props.update(props)
        _remove_unread([*pairs.keys(), *inputs])


def _remove_unread(values: Iterable[ir.Value]) -> None:
    """Remove nodes that computed nothing but these, and what they in turn alone were for."""
    front = [*values]
    while front:
        node = front.pop().producer()
        if node is None or node.graph is None:
            continue
        if any(value.uses() or value.is_graph_output() for value in node.outputs):
            continue
        front += [value for value in node.inputs if value is not None]
        node.graph.remove(node, safe=True)


def _clean(model: ir.Model) -> None:
    passes.RemoveUnusedNodesPass()(model)
    for graph in model.graphs():
        for name, value in [*graph.initializers.items()]:  # the pass leaves those of bodies
            if graph is not model.graph and not value.uses() and not value.is_graph_output():
                del graph.initializers[name]
    infer_shapes(model)
