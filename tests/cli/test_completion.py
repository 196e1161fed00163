"""What a shell is answered when somebody presses the Tab key."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
from click.shell_completion import BashComplete

from sepfactor.cli import main
from sepfactor.errors import OptionError
from sepfactor.factor import select_schemes
from sepfactor.measure.engines import ENGINES
from sepfactor.measure.onnxruntime_session import provider_name
from sepfactor.options import Options

Tab = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def tab() -> Tab:
    """Words typed, the last of them not to its end → kind and value of each word offered."""

    def press(*words: str) -> list[tuple[str, str]]:
        shell = BashComplete(main, {}, "sepfactor", "_SEPFACTOR_COMPLETE")
        return [(item.type, item.value) for item in shell.get_completions([*words[:-1]], words[-1])]

    return press


def values(offered: list[tuple[str, str]]) -> list[str]:
    assert all(kind == "plain" for kind, _ in offered)
    return [value for _, value in offered]


def test_schemes(tab: Tab) -> None:
    every = values(tab("compress", "model.onnx", "--scheme", ""))
    assert len(select_schemes(every)) == len(select_schemes(()))
    assert {"spatial", "average-first"} <= {*every}
    for name in every:
        select_schemes([name])
    assert values(tab("plan", "--scheme", "spatial", "--scheme", "tu")) == ["tucker2"]


def test_engines_and_tasks(tab: Tab) -> None:
    assert values(tab("bench", "--engine", "")) == [*ENGINES, "all"]
    tasks = get_args(get_args(Options.model_fields["task"].annotation)[0])
    assert values(tab("compare", "--task", "")) == [*tasks]
    assert values(tab("compress", "--engine", "open")) == ["openvino"]


def test_providers(tab: Tab) -> None:
    every = values(tab("bench", "--provider", ""))
    assert "cpu" in every
    for name in every:
        provider_name(name)
    assert values(tab("bench", "--provider", "CP")) == ["cpu"]
    assert values(tab("bench", "--engine", "ncnn", "--provider", "")) == ["cpu"]


def test_providers_of_an_engine_that_may_not_be_installed(tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sepfactor.measure.openvino_session.device_names", lambda: ["cpu", "gpu", "npu"])
    assert values(tab("plan", "--engine", "openvino", "--provider", "")) == ["cpu", "gpu", "npu"]

    def fails() -> list[str]:
        raise OptionError("OpenVINO is not installed.")

    monkeypatch.setattr("sepfactor.measure.openvino_session.device_names", fails)
    assert tab("plan", "--engine", "openvino", "--provider", "") == []


@pytest.mark.parametrize("flag", ["--data", "--eval-data", "--labels", "--targets", "--plan", "--profile"])
def test_files(tab: Tab, flag: str) -> None:
    assert tab("compress", "model.onnx", flag, "im") == [("file", "im")]


def test_commands_and_options(tab: Tab) -> None:
    assert values(tab("com")) == ["compress", "compare"]
    assert values(tab("compress", "--lett")) == ["--letterbox"]
