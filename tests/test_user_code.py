"""What goes wrong in code of the user's own is told as theirs, with function and place, and early."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import sepfactor
from sepfactor.cli import main
from sepfactor.errors import OptionError, PlanError, UserCodeError
from sepfactor.options import Options
from sepfactor.user_code import guarded, load_function, names_function, open_metric
from tests import networks
from tests.timing import decide_times

CODE = """\
import sys
import numpy as np

def nan(o, i): return float("nan")
def infinite(o, i): return np.float32("inf")
def text(o, i): return "high"
def nothing(o, i): return None
def array(o, i): return np.zeros(3)
def row(o, i): return np.zeros(1)
def complex_number(o, i): return 1 + 0j
def dictionary(o, i): return o
def key(o, i): return o["nowhere"]
def disk(o, i): open("/no/where")
def value(o, i): raise ValueError("two\\nlines")
def leave(o, i): sys.exit(0)
def stop(o, i): raise StopIteration
def deep(o, i): return inner(o)
def inner(o): return 1 / 0
def one_argument(o): return 1.0
def three_arguments(o, i, more): return 1.0
class Unready:
    def __call__(self, o, i): raise RuntimeError("not ready")
unready = Unready()
partial = __import__("functools").partial(value)

def good(o, i):
    for named in (o, i):
        for a in named.values():
            a[:] = 0
    return np.float64(1)
def exits(): sys.exit(0)
def exits_later():
    yield {"image": np.zeros((1, 3, 16, 16), np.float32)}
    sys.exit(0)
def raises(): raise OSError("no such camera")
def needs(count): return []
"""
LINES = {line.split("(")[0].removeprefix("def "): n for n, line in enumerate(CODE.splitlines(), 1)}
FAILING = {
    **dict.fromkeys(("nan", "infinite", "text", "nothing", "array", "row", "complex_number", "dictionary")),
    "key": "KeyError: 'nowhere'",
    "disk": "FileNotFoundError",
    "value": "ValueError: two",
    "deep": "Zero",
    "leave": "SystemExit: 0",
    "stop": "StopIteration",
    "unready": "not ready",
    "partial": "ValueError",
    "one_argument": "cannot be called",
    "three_arguments": "cannot be called",
}
"""Metric → what is said of it beside its name."""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(networks.plain(), "model.onnx")
    np.savez("data.npz", image=networks.images())
    (tmp_path / "own.py").write_text(CODE)
    return tmp_path / "own.py"


@pytest.fixture
def no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*arguments: object) -> None:
        raise AssertionError("the search has begun")

    monkeypatch.setattr("sepfactor.search.to_budget.gather_space", search)


def assert_told(said: str, file: Path, name: str) -> None:
    assert name in said
    assert f"{file}, line " in said
    assert "code of your own" in said
    assert "unexpectedly" not in said
    assert "ake room" not in said


@pytest.mark.usefixtures("no_search")
@pytest.mark.parametrize("name", FAILING)
def test_a_metric_that_fails_is_told_before_the_search(name: str, file: Path) -> None:
    with pytest.raises(UserCodeError, match=FAILING[name] or "finite number") as raised:
        sepfactor.compress("model.onnx", "out.onnx", data="data.npz", metric=f"own.py:{name}")
    assert_told(str(raised.value), file, f"own.py:{name}")
    function = load_function(f"own.py:{name}")
    with pytest.raises(UserCodeError) as raised:  # named by what they are where nobody named them
        sepfactor.plan("model.onnx", data="data.npz", metric=function)
    assert_told(str(raised.value), file, {"unready": "Unready", "partial": "partial"}.get(name, name))
    words = ("--data", "data.npz", "--metric", f"own.py:{name}", "--html", "o.html")
    run = CliRunner().invoke(main, ["compress", "model.onnx", *words])
    assert run.exit_code == 1
    assert_told(run.stderr, file, f"own.py:{name}")
    assert not Path("out.onnx").exists()


def test_the_place_is_where_it_was_raised(file: Path) -> None:
    for name, line in (("deep", "inner"), ("value", "value"), ("one_argument", "one_argument")):
        with pytest.raises(UserCodeError, match=f"line {LINES[line]}\\b"):
            metric = open_metric(f"own.py:{name}")
            assert metric is not None
            metric({}, {})


def test_a_metric_cannot_change_what_it_is_shown(file: Path) -> None:
    metric = open_metric("own.py:good")
    assert metric is not None
    outputs, inputs = {"y": np.ones(2)}, {"x": np.ones(2)}
    assert metric(outputs, inputs) == 1.0
    assert outputs["y"].all()
    assert inputs["x"].all()


def test_a_metric_that_fails_late_is_told_all_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decide_times(monkeypatch, 2.0)
    calls: list[int] = []

    def tired(outputs: Any, inputs: Any) -> float:
        calls.append(1)
        if len(calls) > 3:
            sys.exit(0)
        return 1.0

    with pytest.raises(UserCodeError, match=r"tired failed .SystemExit: 0"):
        sepfactor.compress("model.onnx", data="data.npz", metric=tired, bench_seconds=0)


@pytest.mark.parametrize("metric", [3, "own.py", "own.py:", ":go"])
def test_what_is_no_metric(metric: object, file: Path) -> None:
    with pytest.raises(OptionError):
        open_metric(metric)


@pytest.mark.parametrize("numbers", [1, 1.5, True, np.float32(2), np.int8(3), np.array(4.0), np.True_])
def test_numbers_of_every_sort(numbers: Any) -> None:
    metric = open_metric(lambda outputs, inputs: numbers)
    assert metric is not None
    assert metric({}, {}) == float(numbers)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exits", "SystemExit: 0"),
        ("exits_later", "SystemExit: 0"),
        ("raises", "no such camera"),
        ("needs", "count"),
    ],
)
@pytest.mark.parametrize("command", ["compress", "inspect", "bench"])
def test_data_that_fail(command: str, name: str, words: str, file: Path) -> None:
    run = CliRunner().invoke(main, [command, "model.onnx", "--data", f"own.py:{name}"])
    assert run.exit_code == 1
    assert words in run.stderr
    assert_told(run.stderr, file, f"own.py:{name}")


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "1 / 0", "import nowhere_at_all", "def f(:"])
@pytest.mark.parametrize("option", ["--data", "--metric"])
def test_a_file_that_cannot_be_imported(option: str, code: str, file: Path) -> None:
    file.write_text(f"\n{code}\n")
    data = ("--data", "data.npz") if option == "--metric" else ()
    run = CliRunner().invoke(main, ["compress", "model.onnx", *data, option, "own.py:go"])
    assert run.exit_code == 1
    assert "own.py:go cannot be imported" in run.stderr
    assert f"{file}, line 2" in run.stderr


def test_interruptions_are_not_the_users_fault() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded(interrupted)()


def test_what_is_guarded_is_called_as_it_is() -> None:
    def one(a: int, *, b: int) -> int:
        return a - b

    assert guarded(one)(3, b=1) == 2
    assert guarded(functools.partial(one, 3))(b=1) == 2


class TestPlans:
    """A file never chooses code."""

    @pytest.fixture(params=["own.py:go", "pathlib:Path", "os.path:abspath", "./own.py:go"])
    def plan(self, request: pytest.FixtureRequest, file: Path) -> Path:
        file.write_text(
            "import numpy as np\nopen('ran', 'w').close()\n"
            "def go():\n    return {'image': np.ones((4, 3, 16, 16), np.float32)}\n"
        )
        _, (made,) = sepfactor.plan("model.onnx", data="data.npz", rank=1)
        document = json.loads(made.to_json())
        document["options"]["data"] = request.param
        (file.parent / "p.json").write_text(json.dumps(document))
        return file.parent / "p.json"

    def test_a_function_in_a_plan_is_never_called(self, plan: Path) -> None:
        for command in (["apply", "model.onnx", str(plan)], ["compress", "model.onnx", "--plan", str(plan)]):
            run = CliRunner().invoke(main, command)
            assert run.exit_code == 1
            assert "asks for --data" in run.stderr
        with pytest.raises(PlanError, match="asks for --data"):
            sepfactor.apply("model.onnx", sepfactor.plans.document.read_plan(plan))  # type: ignore[attr-defined]
        assert not Path("ran").exists()

    def test_unless_the_user_names_it(self, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        decide_times(monkeypatch, 2.0)
        Path("c.toml").write_text('data = "own.py:go"\n')
        given: tuple[dict[str, Any], ...] = (
            {"data": "own.py:go"},
            {"config": "c.toml"},
            {"data": "data.npz"},
        )
        for options in given:
            result = sepfactor.apply("model.onnx", plan, bench_seconds=0, **options)
            assert result.report.totals.replaced
            assert Path("ran").exists() == (options != given[-1])
            Path("ran").unlink(missing_ok=True)


def test_what_names_a_function(file: Path) -> None:
    assert all(map(names_function, ("own.py:go", "a.b:c", "nowhere/x.py:f")))
    assert not any(map(names_function, ("data.npz", "a:", ":b", "C:\\data.npz", "a b:c", None, 3, "x\0.py:")))
    Path("odd.py:go").touch()
    assert not names_function("odd.py:go")


def test_a_callable_metric_is_named_in_the_report(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decide_times(monkeypatch, 2.0)
    options: dict[str, Any] = {"data": "data.npz", "bench_seconds": 0, "max_drop": "50%"}
    report = sepfactor.compress("model.onnx", metric=lambda o, i: 1.0, **options).report
    assert json.loads(report.to_json())["options"]["metric"] == "<lambda>"
    assert Options(metric=max).metric is max
