"""Each function takes the options it uses and refuses all others: keywords, flags and types say the same."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from typing_extensions import Unpack

import sepfactor
from docs.signatures import class_name, signatures
from sepfactor import signatures as written
from sepfactor.cli import main
from sepfactor.errors import ModelError, OptionError, PlanError
from sepfactor.options import Options, make_options
from sepfactor.uses import FRONT, GROUPS, USES, users_of
from tests.test_options import EXAMPLES, words

NOWHERE = "nowhere.onnx"
CALLS: dict[str, Callable[..., Any]] = {
    "compress": lambda **options: sepfactor.compress(NOWHERE, **options),
    "plan": lambda **options: sepfactor.plan(NOWHERE, **options),
    "apply": lambda **options: sepfactor.apply(NOWHERE, _plan(), **options),
    "profile": lambda **options: sepfactor.profile(NOWHERE, **options),
    "tidy": lambda **options: sepfactor.tidy(NOWHERE, **options),
    "inspect": lambda **options: sepfactor.inspect(NOWHERE, **options),
    "bench": lambda **options: sepfactor.bench([NOWHERE], **options),
    "compare": lambda **options: sepfactor.compare(NOWHERE, NOWHERE, **options),
}
PAIRS = [(function, option) for function in USES for option in Options.model_fields]
USED = [(function, option) for function, option in PAIRS if option in USES[function]]
UNUSED = [(function, option) for function, option in PAIRS if option not in USES[function]]


def _plan() -> sepfactor.Plan:
    return sepfactor.Plan(sepfactor_version="0", model="m", fingerprint="", options={}, layers=())


def kebab(option: str) -> str:
    return option.replace("_", "-")


def test_every_option_is_in_one_group_and_used() -> None:
    named = [option for group in GROUPS for option in group.options]
    assert sorted(named) == sorted(Options.model_fields)
    assert all(group.functions and set(group.functions) <= set(USES) for group in GROUPS)
    assert set(USES) == set(CALLS)


@pytest.mark.parametrize(("function", "option"), USED)
def test_what_is_used_is_taken(function: str, option: str) -> None:
    """It gets as far as looking for the model, or for the plan that is named."""
    with pytest.raises((ModelError, PlanError), match=r"nowhere\.onnx|plan\.json"):
        CALLS[function](**{option: EXAMPLES[option]})


@pytest.mark.parametrize(("function", "option"), [pair for pair in UNUSED if pair != ("apply", "plan")])
def test_what_is_not_used_is_refused(function: str, option: str) -> None:
    with pytest.raises(OptionError) as raised:
        CALLS[function](**{option: EXAMPLES[option]})
    said = str(raised.value)
    assert kebab(option) in said
    assert function in said
    assert "choosing a plan" in said or all(user in said for user in users_of(option))
    with pytest.raises(ModelError):  # None is as if it were not given
        CALLS[function](**{option: None})


@pytest.mark.parametrize("option", ["max_drop", "speedup", "max_macs", "rank", "min_snr", "scheme", "force"])
def test_with_a_plan_there_is_nothing_to_choose(option: str, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text(_plan().to_json())
    with pytest.raises(OptionError, match=kebab(option)):
        sepfactor.compress(NOWHERE, plan=file, **{option: EXAMPLES[option]})
    config = tmp_path / "c.toml"
    config.write_text('max-drop = "2%"\nforce = true\n')
    with pytest.raises(ModelError):  # a config is for all commands
        sepfactor.compress(NOWHERE, plan=file, config=config)


@pytest.mark.parametrize("option", [*GROUPS[0].options, *GROUPS[1].options, "rank"])
def test_a_front_has_no_budget(option: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=kebab(option)):
        sepfactor.plan(NOWHERE, pareto=True, **{option: EXAMPLES[option]})
    run = CliRunner().invoke(main, ["plan", NOWHERE, "--pareto", *words(option, EXAMPLES[option])])
    assert run.exit_code == 2
    assert FRONT in run.stderr
    with pytest.raises(ModelError):
        sepfactor.plan(NOWHERE, pareto=True, max_error=0.1)


def flagged(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [
        (f, o) for f, o in pairs if o not in ("layers", "keep", "overwrite") and (f, o) != ("apply", "plan")
    ]


@pytest.mark.parametrize(("function", "option"), flagged(USED))
def test_flags_of_what_is_used(function: str, option: str, tmp_path: Path) -> None:
    plan = tmp_path / "p.json"
    plan.write_text(_plan().to_json())
    arguments = [NOWHERE, *{"apply": [str(plan)], "compare": [NOWHERE]}.get(function, [])]
    run = CliRunner().invoke(main, [function, *arguments, *words(option, EXAMPLES[option])])
    assert run.exit_code == 1, run.stderr
    assert "nowhere.onnx" in run.stderr or "plan.json" in run.stderr


@pytest.mark.parametrize(("function", "option"), flagged(UNUSED))
def test_flags_of_what_is_not_used(function: str, option: str) -> None:
    run = CliRunner().invoke(main, [function, NOWHERE, *words(option, EXAMPLES[option])])
    assert run.exit_code == 2
    assert f"--{kebab(option)}" in run.stderr.replace("--no-", "--")
    assert ", ".join(users_of(option)) in run.stderr


def test_a_config_is_shared_between_functions(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('max-drop = "2%"\nthreads = 2\nhtml = 1\n')
    with pytest.raises(OptionError, match="html"):  # what nobody knows is a mistake
        make_options({}, config, function="bench")
    config.write_text('max_drop = "2%"\nthreads = 2\n')
    assert make_options({}, config, function="bench") == Options(threads=2)
    assert make_options({}, config, function="plan") == Options(threads=2, max_drop="2%")
    with pytest.raises(OptionError, match="max-drop"):
        make_options({"max_drop": "1%"}, config, function="bench")


def test_types_are_those_of_the_definition() -> None:
    assert Path(written.__file__).read_text(encoding="utf-8") == signatures(), "run python -m docs.generate"


@pytest.mark.parametrize("function", USES)
def test_signatures_name_every_keyword(function: str) -> None:
    kind = getattr(written, class_name(function))
    assert set(typing.get_type_hints(kind)) == set(USES[function])
    last = list(inspect.signature(getattr(sepfactor, function), eval_str=True).parameters.values())[-1]
    assert last.annotation == Unpack[kind]
