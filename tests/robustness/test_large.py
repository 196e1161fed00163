"""Networks of gigabytes with a few convolutions: their tables are never read whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests import networks
from tests.graph.build import run

LARGE = bool(os.environ.get("SEPFACTOR_LARGE"))
"""Set it to write more than 2 GB, as much as no protobuf holds; otherwise a smaller limit stands for that."""

COLUMNS = 1024
ROWS = 600_000 if LARGE else 60_000
SIZE = 4 * COLUMNS * ROWS

SCRIPT = """
import resource, sys
import numpy as np
import tests.robustness.way as way
from sepfactor.graph import save
from tests import networks
way.pretend_faster(setattr)
save.PROTOBUF_LIMIT = min(save.PROTOBUF_LIMIT, int(sys.argv[2]))
data = {"image": networks.images(24)}
way.attempt(networks.plain(), data=data)  # so that all is imported
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = way.attempt(sys.argv[1], "out.onnx", data=data, min_snr=20.0)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(result if isinstance(result, str) else result.report.totals.bytes_before, after - before)
"""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """The plain network behind a look into a table of nothing but holes, but for its first rows."""
    with (tmp_path / "table").open("wb") as stream:
        stream.write(np.linspace(0, 1, 99 * COLUMNS, dtype=np.float32).tobytes())
        stream.truncate(SIZE)
    table = TensorProto(
        name="table", data_type=TensorProto.FLOAT, dims=[ROWS, COLUMNS], data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", "table"), ("offset", "0"), ("length", str(SIZE))):
        table.external_data.add(key=key, value=value)
    proto = networks.plain()
    proto.graph.initializer.append(table)
    proto.graph.node[0].input[0] = "shifted"
    for node in (
        helper.make_node("Add", ["image", "sum"], ["shifted"]),
        helper.make_node("ReduceMean", ["rows"], ["sum"], keepdims=0),
        helper.make_node("Gather", ["table", "numbers"], ["rows"]),
        helper.make_node("ArgMax", ["image"], ["numbers"], keepdims=0, axis=1),
    ):
        proto.graph.node.insert(0, node)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    return tmp_path / "model.onnx"


@pytest.mark.skipif(sys.platform != "linux", reason="memory in kilobytes, files of holes")
def test_a_large_table_stays_in_its_file(large: Path, root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, large.name, str(SIZE)],
        cwd=large.parent,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    size, kilobytes = done.stdout.split()
    assert int(size) == SIZE + large.stat().st_size
    assert 1024 * int(kilobytes) < SIZE / 4
    out, data = large.with_name("out.onnx"), large.with_name("out.onnx.data")
    onnx.checker.check_model(out, full_check=True)
    assert data.stat().st_size >= SIZE
    assert len(onnx.load(out, load_external_data=False).graph.node) > 6
    feed = {"image": networks.images(2, seed=5)}
    if not LARGE:
        (found,), (expected,) = run(onnx.load(out), feed), run(onnx.load(large), feed)
        assert np.linalg.norm(found - expected) < 0.2 * np.linalg.norm(expected)
    data.unlink()
