"""What is written says where it comes from, as ``metadata_props`` of the model.

No time, path or machine goes in, so that the same network, plan and data give the same bytes everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from sepfactor import __version__
from sepfactor.errors import ModelError
from sepfactor.graph.load import Loaded, external_files, load
from sepfactor.options import Options
from sepfactor.plans.document import Plan
from sepfactor.results import Provenance
from sepfactor.uses import GROUPS

_PREFIX = "sepfactor."
_CHUNK = 2**20

_ASKED = tuple(
    name
    for group in GROUPS
    if group.name in ("QualityBudgets", "CostBudgets", "Schemes", "Choosing", "Candidates", "Precision")
    for name in group.options
    if name not in ("profile", "cache")  # where times are from
)
"""Options that say what is to come out."""

_DEFAULT = "the default"


def source_digest(loaded: Loaded) -> str:
    """SHA-256 of the file as it was handed in; its files of external data follow, in the order of the graph.

    Of one file it is what ``sha256sum`` says, of several what it says of them put together by ``cat``.
    """
    digest = hashlib.sha256()
    first = loaded.runnable
    if isinstance(first, bytes):
        digest.update(first)
    for path in (*([first] if isinstance(first, Path) else []), *external_files(loaded.model)):
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def budget_text(options: Options) -> str:
    """What was asked for, option by option, as one would type it."""
    usual = {name: Options.model_fields[name].default for name in _ASKED}
    said = {name: value for name in _ASKED if (value := getattr(options, name)) != usual[name]}
    return ", ".join(name.replace("_", "-") + _value(name, value) for name, value in said.items()) or _DEFAULT


def _value(name: str, value: object) -> str:
    if name == "metric" or value is True:  # code of a user's, whose name may be a path; a switch
        return ""
    return f" {'+'.join(map(str, value))}" if type(value) is tuple else f" {value}"


def with_budget(plan: Plan, options: Options, given: Plan | None = None) -> Plan:
    """A plan that says what was asked for when it was chosen.

    Args:
        plan: what was chosen.
        options: by which.
        given: the plan that was handed in, if one was: what it says holds.
    """
    return plan.model_copy(update={"budget": budget_text(options) if given is None else given.budget})


def with_provenance(model: ir.Model, loaded: Loaded, plan: Plan | None = None) -> ir.Model:
    """The same graph in a model that says where it comes from, in place of where its source did.

    Args:
        model: not modified.
        loaded: of what it was made.
        plan: that was built; None where it was only rewritten exactly.
    """
    made = Provenance(
        version=__version__,
        source=source_digest(loaded),
        plan=None if plan is None else plan.digest(),
        budget=None if plan is None or not plan.budget else plan.budget,
    )
    own = {f"{_PREFIX}{name}": value for name, value in made.model_dump(exclude_none=True).items()}
    others = {k: v for k, v in model.metadata_props.items() if k.removeprefix(_PREFIX) not in _FIELDS}
    said = ir.Model(
        model.graph,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        domain=model.domain,
        model_version=model.model_version,
        doc_string=model.doc_string,
        functions=tuple(model.functions.values()),
        metadata_props=others | own,
        device_configurations=model.device_configurations,
    )
    said.meta.update(model.meta)
    return said


_FIELDS = frozenset(Provenance.model_fields)


def read_provenance(path: Path) -> Provenance:
    """What a network says of where it comes from.

    Raises:
        ModelError: it cannot be read, or sepfactor did not make it.
    """
    said: Mapping[str, str] = load(path).model.metadata_props
    found = {name: said[f"{_PREFIX}{name}"] for name in _FIELDS if f"{_PREFIX}{name}" in said}
    if not {"version", "source"} <= set(found):
        raise ModelError(
            f"{path} does not say where it comes from: sepfactor did not write it, or another program wrote "
            "it anew since. Name a file that compress, apply or tidy wrote, or what --json did."
        )
    return Provenance.model_validate(found)
