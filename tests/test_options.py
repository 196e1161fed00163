"""One definition of options, for keyword arguments, TOML and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import ValidationError

from sepfactor.cli.bench import command as bench
from sepfactor.cli.common import given
from sepfactor.cli.compress import command as compress
from sepfactor.cli.inspect import command as inspect
from sepfactor.errors import OptionError
from sepfactor.options import LayerOptions, Options, default_text, make_options

NOT_OPTIONS = {
    "all",
    "model",
    "models",
    "output",
    "config",
    "dry_run",
    "json_to",
    "verbose",
    "quiet",
    "markdown",
    "html_to",
    "save_plan",
    "save_config_to",
}
"""What only the command line knows: where things come from and go to."""

EXAMPLES: dict[str, Any] = {
    "scheme": ["spatial", "tucker2"],
    "rank": 3,
    "max_error": 0.25,
    "keep": True,
    "linear_layers": True,
    "dequantize": True,
    "ignore": ["a*", "b"],
    "layers": {"c.*": {"rank": 2}},
    "data": "x.npz",
    "eval_data": "y.npz",
    "held_out": 0.5,
    "tune": 30.0,
    "refit": False,
    "memory": "500MB",
    "labels": "z.npy",
    "targets": "t.npy",
    "input_shape": {"x": [1, 2]},
    "color": "bgr",
    "scale": 1.0,
    "mean": [0.5],
    "std": [0.1, 0.2, 0.3],
    "layout": "nhwc",
    "resize": 8,
    "sample_rate": 16000,
    "letterbox": True,
    "border": 0,
    "limit": 9,
    "threads": 2,
    "provider": "cuda",
    "engine": "openvino",
    "seed": 4,
    "overwrite": True,
    "bench_seconds": 0.5,
    "pictures": False,
    "max_drop": "1%",
    "max_estimated_drop": "2%",
    "min_snr": 35.0,
    "min_psnr": 40.0,
    "speedup": 1.5,
    "latency_ms": 2.5,
    "max_macs": "50%",
    "max_params": "300k",
    "metric": "file.py:score",
    "task": "detector",
    "plan": "plan.json",
    "profile": "pi4.json",
    "force": True,
    "cache": False,
    "tidy": False,
    "int8": True,
    "reduce_range": True,
}


def toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f'"{k}" = {toml(v)}' for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:
            return repr(value)


@pytest.mark.parametrize("command", [compress, inspect, bench])
def test_every_flag_is_an_option(command: Any) -> None:
    flags = {parameter.name for parameter in command.params} - NOT_OPTIONS
    assert flags <= set(Options.model_fields)


def test_every_option_is_a_flag() -> None:
    flags = {parameter.name for parameter in compress.params}
    assert set(Options.model_fields) - flags == {"keep", "layers"}  # of tables in a TOML file


def test_flags_are_called_like_their_options() -> None:
    for parameter in compress.params:
        if parameter.name in Options.model_fields:
            assert f"--{parameter.name.replace('_', '-')}" in parameter.opts


def test_there_is_an_example_of_each() -> None:
    assert set(EXAMPLES) == set(Options.model_fields)


@pytest.mark.parametrize("name", EXAMPLES)
def test_toml_says_the_same_as_a_keyword(name: str, tmp_path: Path) -> None:
    by_keyword = make_options({name: EXAMPLES[name]})
    assert by_keyword != Options()
    for spelling in {name, name.replace("_", "-")}:
        file = tmp_path / "c.toml"
        file.write_text(f"{spelling} = {toml(EXAMPLES[name])}")
        assert make_options({}, file) == by_keyword


def words(name: str, value: Any) -> list[str]:
    """The same on a command line."""
    flag = f"--{name.replace('_', '-')}"
    match value:
        case bool():
            return [flag if value else flag.replace("--", "--no-", 1)]
        case list() if isinstance(value[0], str):
            return [word for part in value for word in (flag, part)]
        case list():
            return [flag, ",".join(map(str, value))]
        case dict():
            return [flag, *(f"{key}:{','.join(map(str, part))}" for key, part in value.items())]
        case _:
            return [flag, str(value)]


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"keep", "layers"}))
def test_the_command_line_says_the_same_as_a_keyword(name: str) -> None:
    said = compress.make_context("compress", ["model.onnx", *words(name, EXAMPLES[name])]).params
    taken = {key: value for key, value in given(said).items() if key in Options.model_fields}
    assert set(taken) == {name}
    assert make_options(taken) == make_options({name: EXAMPLES[name]})


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"keep", "layers"}))
def test_help_says_what_the_definition_says(name: str) -> None:
    (flag,) = (parameter for parameter in compress.params if parameter.name == name)
    assert isinstance(flag, click.Option)
    assert flag.help is not None
    assert flag.help.startswith(Options.model_fields[name].description or "?")
    default = default_text(name)
    assert (f"[default: {default}]" in flag.help) == (bool(default) and default != "on")


@pytest.mark.parametrize(
    ("said", "value", "is_share"),
    [
        ("1%", 0.01, True),
        ("0.5 %", 0.005, True),
        ("300M", 3e8, False),
        ("0.05k", 50.0, False),
        ("4992", 4992.0, False),
        (101, 101.0, False),
        ("0", 0.0, False),
    ],
)
def test_amounts(said: object, value: float, is_share: bool) -> None:
    amount = make_options({"max_macs": said}).max_macs
    assert amount is not None
    assert (amount.value, amount.is_share) == (pytest.approx(value), is_share)


@pytest.mark.parametrize("name", ["max_macs", "max_params"])
@pytest.mark.parametrize(("said", "asked"), [("50", "50% or 50M"), (50, "50% or 50M"), (0.5, "50% or 0.5M")])
def test_what_may_be_a_share_or_a_count_is_asked_back(name: str, said: object, asked: str) -> None:
    with pytest.raises(OptionError, match=f"{name.replace('_', '-')}.*{asked}"):
        make_options({name: said})


@pytest.mark.parametrize("name", ["max_drop", "max_estimated_drop"])
@pytest.mark.parametrize("said", ["1", 2, 0.5, "0.01", "150%", "100%", "3k"])
def test_a_drop_of_classes_is_a_share_below_all(name: str, said: object) -> None:
    with pytest.raises(OptionError, match=rf"{name.replace('_', '-')}.*say .*%"):
        make_options({name: said})
    assert make_options({name: "99%"}).limits_quality
    assert make_options({name: 0}).limits_quality


def test_a_drop_of_a_metric_is_in_its_unit_or_a_share() -> None:
    for said in (0.5, 2, "150%", "3k"):
        assert make_options({"max_drop": said, "metric": "file.py:score"}).limits_quality


@pytest.mark.parametrize("said", ["", "much", "1%%", "-1%", "1.2.3", "nan", "inf"])
def test_what_is_no_amount(said: str) -> None:
    with pytest.raises(OptionError, match="max-drop"):
        make_options({"max_drop": said})


@pytest.mark.parametrize(
    "given",
    [
        {"max_drop": "1%", "min_snr": 30},
        {"min_snr": 30, "min_psnr": 30},
        {"max_drop": "1%", "max_estimated_drop": "1%"},
        {"metric": "file.py:score", "max_estimated_drop": "1%"},
        {"metric": "file.py:score", "min_snr": 30},
        {"metric": "file.py:score", "min_psnr": 30},
        {"rank": 3, "speedup": 2},
        {"rank": 3, "max_drop": "1%"},
        {"rank": 3, "metric": "file.py:score"},
        {"max_error": 0.1, "metric": "file.py:score"},
    ],
)
def test_budgets_that_exclude_each_other(given: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        make_options(given)


@pytest.mark.parametrize("more", [{}, {"max_drop": "1%"}, {"speedup": 2}])
def test_a_metric_goes_with_what_it_may_lose(more: dict[str, object]) -> None:
    assert make_options({"metric": "file.py:score", **more}).metric == "file.py:score"


def test_labels_go_with_an_estimated_drop() -> None:
    """They are reported on, and not judged by."""
    assert make_options({"labels": "y.npy", "max_estimated_drop": "1%"}).limits_quality


def test_what_is_not_said_is_left_to_the_defaults() -> None:
    assert make_options({"rank": None, "data": None}) == Options()


def test_keywords_override_toml(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    for spelling in ("max-error", "max_error"):
        file.write_text(f"{spelling} = 0.5\nseed = 3\n")
        assert make_options({"max_error": 0.0}, file).max_error == 0.0
        taken = make_options({"rank": 7, "seed": 0}, file)
        assert (taken.rank, taken.max_error, taken.seed) == (7, None, 0)
    file.write_text("rank = 5")
    taken = make_options({"max_error": 0.1}, file)
    assert (taken.rank, taken.max_error) == (None, 0.1)


def test_one_may_stand_for_a_list_of_one() -> None:
    said = make_options({"scheme": "spatial", "ignore": "a.*", "mean": 0.5, "std": 1})
    assert (said.scheme, said.ignore, said.mean, said.std) == (("spatial",), ("a.*",), (0.5,), (1.0,))


def test_options_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Options().rank = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        *(("2GB", 2 * 10**9), ("500MB", 500 * 10**6), ("1.5GiB", 1_500_000_000), (" 64 kB ", 64_000)),
        *(("4096", 4096), ("3g", 3 * 10**9), ("7B", 7)),
    ],
)
def test_memory(given: object, found: int) -> None:
    assert make_options({"memory": given}).memory == found


@pytest.mark.parametrize(
    "given", ["much", "", "2TB", "-1GB", "0", "1.2.3GB", "0.4", "2 G B x", 0, -5, 7, "2", "500"]
)
def test_no_memory(given: object) -> None:
    with pytest.raises(OptionError, match="memory"):
        make_options({"memory": given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"held_out": 0}, "held-out"),
        ({"held_out": 1}, "held-out"),
        ({"refit": "perhaps"}, "refit"),
        ({"ranks": 3}, "no option 'ranks'.*Did you mean rank"),
        ({"xyzzy": 3}, "no option 'xyzzy'.$"),
        ({"rank": 0}, "rank"),
        ({"rank": 1, "max_error": 0.1}, "rank and max-error exclude each other"),
        ({"max_error": float("nan")}, "max-error.*finite"),
        (
            {"metric": "file.py:score", "max_estimated_drop": "1%"},
            "metric and max-estimated-drop exclude each other: max-drop says",
        ),
        ({"bench_seconds": -1}, "bench-seconds"),
        ({"scheme": "spacial"}, "no scheme 'spacial'. Did you mean spatial"),
        ({"layers": {"a": {"scheme": "spacial"}}}, "no scheme 'spacial'. Did you mean spatial"),
        ({"layers": {"a": {"rnak": 1}}}, "layers.a.rnak.*Did you mean rank"),
    ],
)
def test_errors_name_the_option(given: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        make_options(given)


class TestLayers:
    """General rule first, then each table whose glob fits, in the order of the file."""

    def test_a_table_overrides_what_it_says_and_nothing_else(self) -> None:
        options = make_options(
            {"scheme": ["spatial"], "max_error": 0.1, "layers": {"a*": {"max-error": 0.5}}}
        )
        assert options.for_layer("abc") == LayerOptions(scheme=("spatial",), max_error=0.5)
        assert options.for_layer("xyz") == LayerOptions(scheme=("spatial",), max_error=0.1)

    def test_rank_and_max_error_displace_each_other(self) -> None:
        options = make_options({"rank": 4, "layers": {"a": {"max-error": 0.5}}})
        assert (options.for_layer("a").rank, options.for_layer("a").max_error) == (None, 0.5)
        options = make_options({"max_error": 0.5, "layers": {"a": {"rank": 4}}})
        assert (options.for_layer("a").rank, options.for_layer("a").max_error) == (4, None)

    def test_the_last_table_wins(self) -> None:
        options = make_options({"layers": {"a*": {"rank": 1, "scheme": ["tucker2"]}, "*b": {"rank": 2}}})
        assert options.for_layer("ab") == LayerOptions(scheme=("tucker2",), rank=2)

    def test_keep_may_be_taken_back(self) -> None:
        options = make_options({"keep": True, "layers": {"a": {"keep": False}}})
        assert options.for_layer("b").keep
        assert not options.for_layer("a").keep

    def test_ignore_beats_every_table(self) -> None:
        options = make_options({"ignore": ["a"], "layers": {"a": {"rank": 2}}})
        assert options.for_layer("a").keep

    def test_either_name_of_a_layer_fits(self) -> None:
        options = make_options({"layers": {"value_7": {"rank": 2}}})
        assert options.for_layer("conv1", "value_7").rank == 2

    def test_a_name_is_taken_as_it_stands_before_it_is_a_glob(self) -> None:
        options = make_options({"ignore": ["layer[0]"], "layers": {"conv[1]": {"rank": 2}}})
        for one in (options, options.for_network(["layer[0]", "conv[1]"])):
            assert one.for_layer("layer[0]").keep
            assert one.for_layer("x", "conv[1]").rank == 2
        for other in ("layer0", "conv1"):  # a glob, but not where a layer is called like it
            assert options.for_layer(other) != LayerOptions()
            assert options.for_network(["layer[0]", "conv[1]"]).for_layer(other) == LayerOptions()

    def test_a_rank_of_its_own_holds_under_a_budget(self) -> None:
        options = make_options({"max_macs": "60%", "layers": {"a": {"rank": 8}}})
        assert (options.for_layer("a").rank, options.for_layer("b").rank) == (8, None)
        assert not options.has_rule

    def test_globs_mind_case(self) -> None:
        assert not make_options({"ignore": ["Conv*"]}).for_layer("conv_1").keep
