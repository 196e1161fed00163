"""From a trained torch module to a tidy ONNX file, with BatchNormalization left as it is."""

from __future__ import annotations

from pathlib import Path

import torch
from common import OPSET, drop_zero_biases, name_nodes, save_model
from onnx_ir.passes import common as common_passes
from onnxscript.optimizer import fold_constants
from torch import nn


def make_deterministic(seed: int) -> None:
    """One thread and one seed: the same machine and wheels train the same network again."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)


def export(
    name: str,
    module: nn.Module,
    example: torch.Tensor,
    input_name: str,
    output_name: str,
    symbolic: dict[int, str],
) -> Path:
    """Write `models/NAME.onnx`; `symbolic` names the dimensions of the input that may vary."""
    dimensions = {axis: torch.export.Dim(label) for axis, label in symbolic.items()}
    program = torch.onnx.export(
        module.eval(),
        (example,),
        input_names=[input_name],
        output_names=[output_name],
        dynamic_shapes=(dimensions,),
        opset_version=OPSET,
        optimize=False,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    fold_constants(program.model)  # the exporter's own optimiser would fold BatchNormalization too
    common_passes.RemoveUnusedNodesPass()(program.model)
    model = program.model_proto
    drop_zero_biases(model)
    name_nodes(model)
    return save_model(name, model)
