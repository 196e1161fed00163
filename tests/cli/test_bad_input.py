"""What goes wrong is said in one sentence that names the thing, and leaves everything as it was."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests import networks
from tests.cli.conftest import Run, listing

Refused = Callable[..., str]
DATA = ("--data", "data.npz")
as_root = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read and write everything"
)
every_command = pytest.mark.parametrize("command", ["compress", "inspect", "bench"])


class TestModel:
    """A file that is no model, or one that cannot be used."""

    @every_command
    def test_missing(self, command: str, refused: Refused) -> None:
        said = refused(1, command, "nowhere.onnx")
        assert "There is no file nowhere.onnx" in said
        assert "Check the path" in said

    @every_command
    @pytest.mark.parametrize("name", ["folder", ".", "/", ".."])
    def test_a_folder(self, command: str, name: str, refused: Refused, folder: Path) -> None:
        (folder / "folder").mkdir()
        assert "is a folder" in refused(1, command, name)

    def test_below_a_file(self, refused: Refused) -> None:
        assert "model.onnx/inner.onnx" in refused(1, "compress", "model.onnx/inner.onnx")

    def test_a_name_too_long(self, refused: Refused) -> None:
        assert "cannot be read" in refused(1, "compress", "x" * 300)

    @as_root
    def test_unreadable(self, refused: Refused) -> None:
        Path("model.onnx").chmod(0)
        assert "permissions" in refused(1, "compress", "model.onnx")

    @every_command
    @pytest.mark.parametrize(
        "content",
        [
            b"this is not a model\n" * 20,
            np.random.default_rng(0).bytes(4096),
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(200),
            bytes(1000),
            b'{"a": 1}',
            b"PK\x03\x04" + bytes(100),
        ],
        ids=["text", "random", "png", "zeros", "json", "zip"],
    )
    def test_not_onnx(self, command: str, content: bytes, refused: Refused) -> None:
        Path("picture.onnx").write_bytes(content)
        said = refused(1, command, "picture.onnx")
        assert "picture.onnx is not an ONNX model" in said
        assert re.search("Export|Name a file", said)

    @every_command
    def test_empty(self, command: str, refused: Refused) -> None:
        Path("nothing.onnx").touch()
        assert "nothing.onnx is empty" in refused(1, command, "nothing.onnx")

    @pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
    def test_cut_off(self, share: float, refused: Refused) -> None:
        data = Path("model.onnx").read_bytes()
        Path("cut.onnx").write_bytes(data[: int(share * len(data))])
        said = refused(1, "compress", "cut.onnx", *DATA)
        assert "cut.onnx" in said
        assert "again" in said or "Name a file" in said

    def test_cut_off_anywhere_near_the_end(self, sepfactor: Run) -> None:
        """Some of these still parse; none may end in anything but a sentence or a result."""
        data = Path("model.onnx").read_bytes()
        for missing in range(1, 60, 4):
            Path("cut.onnx").write_bytes(data[:-missing])
            run = sepfactor("inspect", "cut.onnx", "-q")
            assert run.exit_code == 1, missing
            assert "unexpectedly" not in run.stderr
            assert "cut.onnx" in run.stderr

    @every_command
    def test_operators_onnxruntime_does_not_know(self, command: str, refused: Refused) -> None:
        onnx.save(networks.unknown_operator(), "custom.onnx")
        said = refused(1, command, "custom.onnx", *DATA)
        assert "custom.onnx" in said
        assert "Whirl" in said or "acme.example" in said

    @every_command
    def test_failing_at_run_time(self, command: str, refused: Refused) -> None:
        onnx.save(networks.fails_at_run_time(), "reshaping.onnx")
        said = refused(1, command, "reshaping.onnx", *DATA)
        assert "onnxruntime cannot run" in said
        assert "(1, 3, 16, 16)" in said

    def test_a_map_smaller_than_its_kernel(self, refused: Refused) -> None:
        onnx.save(networks.vanishing_map(), "model.onnx")
        np.savez("data.npz", image=networks.images(2, 6))
        said = refused(1, "compress", "model.onnx", *DATA)
        assert "onnxruntime cannot run" in said
        assert "(1, 3, 6, 6)" in said

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_weights_that_are_not_finite(self, value: float, refused: Refused) -> None:
        onnx.save(networks.broken_weights(value), "model.onnx")
        said = refused(1, "compress", "model.onnx", *DATA)
        assert "'head.last'" in said
        assert "NaN or infinite" in said
        assert "--ignore 'head.last'" in said

    def test_a_name_with_brackets_is_ignored_as_suggested(self, refused: Refused, sepfactor: Run) -> None:
        broken = networks.broken_weights(np.nan)
        broken.graph.node[-1].name = "head[0].last"
        onnx.save(broken, "model.onnx")
        said = refused(1, "plan", "model.onnx", *DATA, "--rank", 1)
        found = re.search("--ignore '(.*)'", said)
        assert found is not None
        ran = sepfactor("plan", "model.onnx", *DATA, "--rank", 1, "--ignore", found[1], "-o", "p.json")
        assert ran.exit_code == 0, ran.output

    def test_weights_elsewhere_that_are_missing(self, refused: Refused, folder: Path) -> None:
        onnx.save(
            networks.plain(), "far.onnx", save_as_external_data=True, location="far.bin", size_threshold=0
        )
        (folder / "far.bin").unlink()
        assert "far.bin" in refused(1, "compress", "far.onnx", *DATA)

    def test_which_of_several_models_does_not_fit(self, refused: Refused) -> None:
        onnx.save(networks.two_inputs(), "other.onnx")
        said = refused(1, "bench", "model.onnx", "other.onnx", *DATA)
        assert "other.onnx" in said
        assert "gain" in said

    def test_a_misspelt_command(self, refused: Refused) -> None:
        assert "Did you mean compress?" in refused(2, "compres", "model.onnx")
        assert "No such command 'frobnicate'" in refused(2, "frobnicate")

    def test_no_model_at_all(self, refused: Refused) -> None:
        assert "MODEL" in refused(2, "compress")


def _arrays(**arrays: object) -> Callable[[], None]:
    return lambda: np.savez("bad.npz", **arrays)  # type: ignore[arg-type]


class TestData:
    """Data that cannot be read or do not fit."""

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (_arrays(other=1, more=2), ("'image'", "'other'", "name the arrays after the inputs")),
            (_arrays(image=np.zeros((4, 1, 16, 16), np.float32)), ("(4, 1, 16, 16)", "(samples, 3, 16, 16)")),
            (_arrays(image=np.zeros((4, 16, 16, 3), np.float32)), ("transpose",)),
            (_arrays(image=np.zeros((3, 16, 16), np.float32)), ("(3, 16, 16)", "axis")),
            (_arrays(image=np.float32(1)), ("image",)),
            (_arrays(image=np.zeros((4, 3, 16, 16), np.complex64)), ("complex64", "float32")),
            (_arrays(image=np.full((4, 3, 16, 16), "a")), ("image", "numbers")),
            (_arrays(image=np.full((1, 3, 16, 16), np.nan, np.float32)), ("'image'", "NaN")),
            (_arrays(image=np.full((1, 3, 16, 16), np.inf, np.float32)), ("'image'", "infinite")),
            (_arrays(image=np.array([None] * 4, object)), ("image", "pickled")),
            (_arrays(image=np.zeros((0, 3, 16, 16), np.float32)), ("0 samples",)),
            (_arrays(), ("bad.npz",)),
            (lambda: Path("bad.npz").write_bytes(b""), ("bad.npz",)),
            (lambda: Path("bad.npz").write_text("not a zip"), ("bad.npz",)),
            (lambda: Path("bad.npz").write_bytes(Path("data.npz").read_bytes()[:500]), ("bad.npz",)),
            (lambda: Path("bad.npz").mkdir(), ("bad.npz", "folder")),
        ],
        ids=[
            *("names", "channels", "layout", "no axis of samples", "scalar", "complex", "text", "NaN"),
            *("infinite", "objects", "no samples", "no arrays", "empty", "no zip", "cut off", "empty folder"),
        ],
    )
    def test_does_not_fit(self, make: Callable[[], object], words: tuple[str, ...], refused: Refused) -> None:
        make()
        said = refused(1, "compress", "model.onnx", "--data", "bad.npz")
        for word in words:
            assert word in said

    @every_command
    def test_missing(self, command: str, refused: Refused) -> None:
        said = refused(1, command, "model.onnx", "--data", "nowhere.npz")
        assert "'nowhere.npz'" in said
        assert ".npz" in said

    def test_evaluation_data_are_checked_too(self, refused: Refused) -> None:
        np.savez("bad.npz", image=np.zeros((4, 1, 16, 16), np.float32))
        assert "bad.npz" in refused(1, "compress", "model.onnx", *DATA, "--eval-data", "bad.npz")

    def test_fractions_for_whole_numbers(self, refused: Refused) -> None:
        onnx.save(networks.of_whole_numbers(), "model.onnx")
        said = refused(1, "compress", "model.onnx", *DATA)
        assert "float32" in said
        assert "uint8" in said

    def test_an_input_without_data(self, refused: Refused) -> None:
        onnx.save(networks.two_inputs(), "model.onnx")
        assert "'gain'" in refused(1, "compress", "model.onnx", *DATA)

    def test_inputs_of_different_lengths(self, refused: Refused) -> None:
        onnx.save(networks.two_inputs(), "model.onnx")
        np.savez("bad.npz", image=networks.images(4), gain=np.ones((3, 1, 1, 1), np.float32))
        assert "length" in refused(1, "compress", "model.onnx", "--data", "bad.npz")

    def test_a_function_that_is_not_there(self, refused: Refused) -> None:
        Path("feeds.py").write_text("x = 1\n")
        assert "'feeds'" in refused(1, "compress", "model.onnx", "--data", "feeds.py:feeds")

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ("nope:1,3,16,16", ("'nope'", "'image'")),
            ("image:1,3,16", ("(1, 3, 16)", "(batch, 3, 16, 16)")),
            ("image:1,4,16,16", ("(1, 4, 16, 16)",)),
            ("image:0,3,16,16", ("(0, 3, 16, 16)",)),
            ("image", ("'image'", "input:1,3,224,224")),
            ("image:a,b", ("'image:a,b'",)),
        ],
    )
    def test_input_shapes(self, given: str, words: tuple[str, ...], refused: Refused) -> None:
        said = refused(2, "compress", "model.onnx", "--input-shape", given)
        for word in words:
            assert word in said


@pytest.mark.usefixtures("always_faster")
class TestLabels:
    @pytest.fixture(autouse=True)
    def _classifier(self, folder: Path) -> None:
        onnx.save(networks.classifier(), "model.onnx")

    @pytest.mark.parametrize(
        ("labels", "words"),
        [
            ([0, 1, 2], ("3 labels", "4 samples")),
            ([0] * 9, ("9 labels", "4 samples")),
            ([6, 6, 6, 6], ("6", "'logits'")),
            ([-2, -2, -2, -2], ("-2", "'logits'")),
            ([0.5, 1, 2, 3], ("whole numbers",)),
            ([np.nan, 1, 2, 3], ("whole numbers",)),
            (["a", "b", "c", "d"], ("numbers",)),
            ([], ("0 labels",)),
        ],
    )
    def test_that_do_not_fit(self, labels: list[object], words: tuple[str, ...], refused: Refused) -> None:
        np.save("labels.npy", np.array(labels))
        said = refused(1, "compress", "model.onnx", *DATA, "--labels", "labels.npy", "--bench-seconds", 0)
        for word in words:
            assert word in said

    def test_missing(self, refused: Refused) -> None:
        assert "'nowhere.npy'" in refused(1, "compress", "model.onnx", *DATA, "--labels", "nowhere.npy")

    def test_without_data(self, refused: Refused) -> None:
        np.save("labels.npy", np.zeros(4, np.int64))
        assert "without data" in refused(2, "compress", "model.onnx", "--labels", "labels.npy")

    def test_without_class_scores(self, refused: Refused) -> None:
        onnx.save(networks.plain(), "model.onnx")
        np.save("labels.npy", np.zeros(4, np.int64))
        said = refused(1, "compress", "model.onnx", *DATA, "--labels", "labels.npy", "--bench-seconds", 0)
        assert "class scores" in said


class TestAmounts:
    """What is refused by the options alone is refused before there is so much as a model."""

    @pytest.mark.parametrize(
        ("flag", "amount", "words"),
        [
            ("--max-macs", "50", "50% or 50M?"),
            ("--max-params", "0.5", "50% or 0.5M?"),
            ("--max-drop", "150%", "leaves no class right"),
            ("--max-estimated-drop", "100%", "leaves no class right"),
            ("--max-drop", "0.5", "0.5% or 50%"),
            ("--memory", "2", "2GB or 2MB?"),
            ("--scheme", "spacial", "Did you mean spatial"),
        ],
    )
    def test_one(self, flag: str, amount: str, words: str, refused: Refused) -> None:
        assert words in refused(2, "compress", "nowhere.onnx", *DATA, flag, amount)


class TestOutput:
    def test_exists(self, refused: Refused) -> None:
        Path("out.onnx").write_text("mine")
        said = refused(1, "compress", "model.onnx", *DATA, "-o", "out.onnx")
        assert "out.onnx exists already" in said
        assert "--overwrite" in said

    def test_folder_is_missing(self, refused: Refused) -> None:
        said = refused(1, "compress", "model.onnx", *DATA, "-o", "no/where/out.onnx")
        assert "no/where" in said
        assert "Create it" in said

    def test_is_a_folder(self, refused: Refused, folder: Path) -> None:
        (folder / "out").mkdir()
        for overwrite in ((), ("--overwrite",)):
            assert "out is a folder" in refused(1, "compress", "model.onnx", *DATA, "-o", "out", *overwrite)

    def test_below_a_file(self, refused: Refused) -> None:
        assert "data.npz" in refused(1, "compress", "model.onnx", *DATA, "-o", "data.npz/out.onnx")

    def test_a_name_too_long(self, refused: Refused) -> None:
        assert "name" in refused(1, "compress", "model.onnx", *DATA, "-o", "x" * 300 + ".onnx")

    @as_root
    def test_a_folder_that_cannot_be_written(self, refused: Refused, folder: Path) -> None:
        (folder / "out").mkdir(mode=0o500)
        assert "cannot be written" in refused(1, "compress", "model.onnx", *DATA, "-o", "out/out.onnx")

    @pytest.mark.parametrize(
        "name", ["model.onnx", "./model.onnx", "link.onnx", "hard.onnx", "around/model.onnx"]
    )
    def test_is_the_input(self, name: str, refused: Refused, folder: Path) -> None:
        Path("link.onnx").symlink_to("model.onnx")
        Path("hard.onnx").hardlink_to("model.onnx")
        Path("around").symlink_to(folder, target_is_directory=True)
        for overwrite in ((), ("--overwrite",)):
            said = refused(2, "compress", "model.onnx", *DATA, "-o", name, *overwrite)
            assert "input" in said
            assert "-o" in said

    def test_is_something_else_that_is_read(self, refused: Refused) -> None:
        onnx.save(
            networks.plain(), "far.onnx", save_as_external_data=True, location="far.bin", size_threshold=0
        )
        for name in ("data.npz", "far.bin"):
            assert "input" in refused(2, "compress", "far.onnx", *DATA, "-o", name, "--overwrite")

    @every_command
    @pytest.mark.parametrize("name", ["model.onnx", "data.npz", "link.onnx"])
    def test_json_never_replaces_what_is_read(self, command: str, name: str, refused: Refused) -> None:
        Path("link.onnx").symlink_to("model.onnx")
        for overwrite in ((), ("--overwrite",)):
            said = refused(2, command, "model.onnx", *DATA, "--json", name, *overwrite)
            assert name in said

    def test_json_and_the_model_need_two_files(self, refused: Refused) -> None:
        said = refused(2, "compress", "model.onnx", *DATA, "-o", "out", "--json", "out", "--overwrite")
        assert "--json" in said

    @every_command
    @pytest.mark.parametrize("name", ["no/where.json", ".", "x" * 300])
    def test_json_cannot_be_written(self, command: str, name: str, refused: Refused) -> None:
        assert "cannot be written" in refused(1, command, "model.onnx", *DATA, "--json", name)

    @every_command
    def test_json_exists(self, command: str, refused: Refused) -> None:
        Path("report.json").write_text("mine")
        assert "--overwrite" in refused(1, command, "model.onnx", *DATA, "--json", "report.json")

    @pytest.mark.usefixtures("always_faster")
    @pytest.mark.parametrize("where", ["write", "sync", "publish"])
    def test_a_full_disk(self, where: str, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*arguments: object, **options: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def half(model: object, path: Path, **options: object) -> None:
            path.write_bytes(b"half of it")
            full()

        if where == "write":
            monkeypatch.setattr("onnx_ir.save", half)
        elif where == "sync":
            monkeypatch.setattr("os.fsync", full)
        else:
            monkeypatch.setattr(Path, "hardlink_to", full)
            monkeypatch.setattr(Path, "replace", full)
        said = refused(1, "compress", "model.onnx", *DATA, "--bench-seconds", 0, "--max-error", 0.9)
        assert "No space left on device" in said
        assert "model.sep.onnx" in said

    @pytest.mark.usefixtures("always_faster")
    def test_a_plan_that_was_searched_for_is_kept(
        self, sepfactor: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*arguments: object, **options: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("onnx_ir.save", full)
        np.savez("data.npz", image=networks.images(24))
        run = sepfactor("compress", "model.onnx", *DATA, "--min-snr", 5, "--bench-seconds", 0)
        assert run.exit_code == 1
        assert "model.plan.json" in run.stderr
        assert run.stderr.splitlines()[-1].startswith("Error: ")
        monkeypatch.undo()
        monkeypatch.chdir(folder)
        assert sepfactor("apply", "model.onnx", "model.plan.json", "--bench-seconds", 0).exit_code == 0

    @pytest.mark.usefixtures("always_faster")
    def test_a_disk_full_for_the_report(
        self, sepfactor: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = listing(folder)

        def full(path: Path, *arguments: object, **options: object) -> None:
            path.touch()
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        run = sepfactor("compress", "model.onnx", "--dry-run", "--bench-seconds", 0, "--json", "report.json")
        assert run.exit_code == 1
        assert "report.json cannot be written: No space left on device" in run.stderr
        assert listing(folder) == before

    @pytest.mark.usefixtures("always_faster")
    def test_a_file_that_appears_meanwhile_is_left_alone(
        self, sepfactor: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from sepfactor.deliver.result import verify

        def slow(*arguments: Any) -> Any:
            Path("model.sep.onnx").write_text("theirs")
            return verify(*arguments)

        monkeypatch.setattr("sepfactor.deliver.result.verify", slow)
        run = sepfactor("compress", "model.onnx", "--bench-seconds", 0, "--max-error", 0.9)
        assert run.exit_code == 1
        assert "exists already" in run.stderr
        assert sorted(listing(folder)) == ["data.npz", "model.onnx", "model.sep.onnx"]
        assert Path("model.sep.onnx").read_text() == "theirs"


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--scheme", "spatal"), ("'spatal'", "spatial")),
            (("--rank", "0"), ("--rank", "0")),
            (("--rank", "many"), ("--rank", "'many'")),
            (("--max-error", "-0.1"), ("--max-error", "-0.1")),
            (("--max-error", "nan"), ("max-error", "finite")),
            (("--max-error", "inf"), ("max-error", "finite")),
            (("--rank", "2", "--max-error", "0.1"), ("rank and max-error exclude each other",)),
            (("--threads", "-1"), ("--threads",)),
            (("--limit", "0"), ("--limit",)),
            (("--seed", "-1"), ("--seed",)),
            (("--bench-seconds", "-1"), ("--bench-seconds",)),
            (("--bench-seconds", "nan"), ("bench-seconds", "finite")),
            (("--provider", "warp"), ("'warp'", "cpu")),
            (("--mean", "a,b"), ("'a,b'",)),
            (("--mean", "0.5"), ("--mean is for images", "data.npz gives arrays")),
            (("--layout", "nhwc", "--scale", "1"), ("--scale, --layout are for images", "transpose")),
            (("--scheme", "spacial"), ("no scheme 'spacial'", "Did you mean spatial?")),
            (("--color", "pink"), ("'pink'", "gray")),
            (("--frobnicate",), ("--frobnicate",)),
            (("--max-eror", "0.1"), ("--max-eror", "--max-error")),
            (("--config", "nowhere.toml"), ("nowhere.toml", "--config")),
            (("--config", "."), ("cannot be read",)),
        ],
        ids=lambda value: " ".join(value)[:30],
    )
    def test_that_make_no_sense(
        self, options: tuple[str, ...], words: tuple[str, ...], refused: Refused
    ) -> None:
        said = refused(2, "compress", "model.onnx", *DATA, *options)
        for word in words:
            assert word in said

    @pytest.mark.parametrize(
        ("toml", "words"),
        [
            ("max-eror = 0.1", ("'max-eror'", "Did you mean max-error?")),
            ("[layers.'body.*']\nshceme = ['spatial']", ("shceme", "Did you mean scheme?")),
            ("colour = 'rgb'", ("'colour'", "Did you mean color?")),
            ("rank = = 2", ("not valid TOML", "line 1")),
            ("[layers", ("not valid TOML",)),
            ("rank = 2\nmax-error = 0.1", ("rank and max-error exclude each other",)),
            ("[layers.a]\nrank = 2\nmax-error = 0.1", ("layers.a", "exclude each other")),
            ("rank = 0", ("rank", "greater than or equal to 1")),
            ("rank = 'two'", ("rank", "integer")),
            ("scheme = ['nope']", ("'nope'", "spatial")),
            ("[layers.'body.*']\nscheme = 'nope'", ("'nope'", "spatial")),
            ("layers = 3", ("layers",)),
            ("[layers]\nbody = 3", ("layers.body",)),
        ],
    )
    def test_configs(self, toml: str, words: tuple[str, ...], refused: Refused) -> None:
        Path("c.toml").write_text(toml)
        said = refused(2, "compress", "model.onnx", *DATA, "--config", "c.toml")
        for word in words:
            assert word in said

    def test_a_config_that_is_not_text(self, refused: Refused) -> None:
        Path("c.toml").write_bytes(b"\xff\xfe\x00")
        assert "not valid TOML" in refused(2, "compress", "model.onnx", "--config", "c.toml")

    def test_an_unknown_command(self, refused: Refused) -> None:
        assert "'squeeze'" in refused(2, "squeeze", "model.onnx")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[BaseException], None]]:
    """Let something deep inside raise, late, when the result lies staged beside its place."""

    def fail(error: BaseException) -> None:
        def raising(*arguments: object) -> None:
            raise error

        monkeypatch.setattr("sepfactor.deliver.result.verify", raising)

    yield fail


@pytest.mark.usefixtures("always_faster")
class TestInterruptions:
    def test_ctrl_c(self, failing: Callable[[BaseException], None], refused: Refused) -> None:
        failing(KeyboardInterrupt())
        assert refused(130, "compress", "model.onnx", *DATA).startswith("Error: Interrupted")

    def test_a_defect_is_one_sentence(self, failing: Callable[[BaseException], None], sepfactor: Run) -> None:
        failing(ZeroDivisionError("of two\nlines."))
        run = sepfactor("compress", "model.onnx", *DATA)
        assert run.exit_code == 1
        assert run.stderr.splitlines() == [
            "Error: sepfactor failed unexpectedly: ZeroDivisionError: of two. Please report it, with the "
            "traceback that -v shows."
        ]
        assert not Path("model.sep.onnx").exists()

    @pytest.mark.parametrize("flag", ["-v", "--verbose", "-qv"])
    def test_its_traceback_is_for_who_asks(
        self, flag: str, failing: Callable[[BaseException], None], sepfactor: Run
    ) -> None:
        failing(ZeroDivisionError("why"))
        run = sepfactor("compress", "model.onnx", *DATA, flag)
        assert run.exit_code == 1
        assert "Traceback (most recent call last)" in run.stderr
        assert run.stderr.splitlines()[-1].startswith("Error: ")

    def test_a_traceback_of_an_expected_error(self, sepfactor: Run) -> None:
        run = sepfactor("inspect", "nowhere.onnx", "--verbose")
        assert "Traceback" in run.stderr
        assert run.stderr.splitlines()[-1].startswith("Error: There is no file")

    def test_a_value_that_looks_like_the_flag_is_not_it(self, sepfactor: Run) -> None:
        run = sepfactor("compress", "nowhere.onnx", "--ignore", "-v")
        assert "Traceback" not in run.stderr
