"""Config files: what is written is read back to the same options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sepfactor.errors import OptionError
from sepfactor.factor import SCHEME_NAMES
from sepfactor.options import Options, make_options
from tests.test_options import EXAMPLES

_texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
_counts = st.integers(1, 10**6)
_positive = st.floats(1e-9, 1e9)
_shares = st.floats(1e-6, 99.0).map(lambda x: f"{x!r}%")
_amounts = st.one_of(
    st.floats(101, 1e12).map(repr),
    _shares,
    _counts.map("{}k".format),
    st.floats(1e-3, 99).map("{!r}k".format),
)
_names = st.lists(_texts, max_size=3)
_schemes = st.lists(st.sampled_from((*SCHEME_NAMES, "spatial", "channel")), max_size=3)
_wishes = st.fixed_dictionaries(
    {},
    optional={"scheme": _schemes, "keep": st.booleans()},
).flatmap(
    lambda said: st.one_of(
        st.just(said),
        _counts.map(lambda rank: {**said, "rank": rank}),
        _positive.map(lambda error: {**said, "max-error": error}),
    )
)
_options = st.fixed_dictionaries(
    {},
    optional={
        "scheme": _schemes,
        "ignore": _names,
        **dict.fromkeys(("max_macs", "max_params"), _amounts),
        **dict.fromkeys(("speedup", "latency_ms", "scale", "bench_seconds"), _positive),
        **dict.fromkeys(("limit", "resize", "seed", "threads"), _counts),
        **dict.fromkeys(("data", "eval_data", "labels", "targets", "metric", "profile", "provider"), _texts),
        **dict.fromkeys(("refit", "cache", "pictures", "force", "overwrite", "keep"), st.booleans()),
        **dict.fromkeys(("mean", "std"), st.lists(_positive, max_size=3)),
        "max_drop": _shares,
        "held_out": st.floats(0.01, 0.99),
        "memory": st.sampled_from(["500MB", "3g", 1234, "7B"]),
        "input_shape": st.dictionaries(_texts, st.lists(_counts, min_size=1, max_size=4), max_size=2),
        "layers": st.dictionaries(_texts, _wishes, max_size=3),
    },
)


def read_back(options: Options, file: Path) -> Options:
    file.write_text(options.to_toml(), encoding="utf-8")
    return make_options({}, file)


@given(said=_options)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(said: dict[str, Any], tmp_path: Path) -> None:
    options = make_options(said)
    found = read_back(options, tmp_path / "c.toml")
    assert found == options
    for name in ("", "conv", *said.get("layers", {})):  # what a table does not say is left to the rule
        assert found.for_layer(name) == options.for_layer(name)


@pytest.mark.parametrize("name", EXAMPLES)
def test_round_trip_of_each(name: str, tmp_path: Path) -> None:
    options = make_options({name: EXAMPLES[name]})
    assert read_back(options, tmp_path / "c.toml") == options


def test_only_what_differs_from_the_defaults_is_in_it() -> None:
    assert Options().to_toml().strip() == ""
    changed = {"seed": 5, "scheme": ["spatial"], "bench-seconds": 1.5, "cache": False, "mean": [1.0]}
    lines = make_options(changed).to_toml().splitlines()
    assert {line.split(" = ")[0] for line in lines if " = " in line} == changed.keys()


def test_a_path_is_written_as_text(tmp_path: Path) -> None:
    assert read_back(make_options({"data": Path("a/b.npz")}), tmp_path / "c.toml").data == "a/b.npz"


@pytest.mark.parametrize("name", ["data", "eval_data", "labels", "targets", "metric"])
@pytest.mark.parametrize("value", [np.zeros(3), {"x": np.zeros(3)}, max])
def test_objects_of_the_program_cannot_be_written(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=rf"{name.replace('_', '-')}.*cannot hold"):
        make_options({name: value}).to_toml()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max-eror = 0.1", "no option 'max-eror'.*c.toml.*Did you mean max-error?"),
        ("max_eror = 0.1", "Did you mean max-error?"),
        ('[layer."a.*"]\nrank = 3', "no option 'layer'.*Did you mean layers?"),
        ('[layers."a"]\nrnak = 3', "Did you mean rank?"),
        ('[layers."a"]\nmin-snr = 30', "min-snr is of the whole network. For a layer there are .*rank"),
        ('[layers."a"]\nxyzzy = 30', "For a layer there are .*max-error"),
        ("xyzzy = 30", "There is no option 'xyzzy' .options or .*c.toml..$"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_near_one(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(OptionError, match=words):
        make_options({}, tmp_path / "c.toml")


def test_what_lies_beneath_gives_way(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("seed = 2\nlimit = 2")
    beneath = {"held-out": 0.5, "seed": 1, "limit": 1}
    options = make_options({"limit": 3}, tmp_path / "c.toml", beneath)
    assert (options.held_out, options.seed, options.limit) == (0.5, 2, 3)
