"""Exact rewritings of a graph: the same numbers, to rounding, in less time.

Each rule is a file: the mathematics on top, then a check that answers with what to build, or with the reason
why a place stays. :data:`REWRITES` has them in the order in which they are tried.

To add one, write its file, put it here, and give it a line in ``docs/tidy.md``. Test that it holds over
attributes, borders, types and opsets, and where it must not (a value that is an output, or that something
else reads), in both runtimes; and add what it looks for to ``tests/graph/rewrites/test_any_chain.py``.
"""

from __future__ import annotations

from sepfactor.graph.rewrites.chain import Chain, rewrite
from sepfactor.graph.rewrites.clip import CARRY_LEAKY_RELU, CLIP
from sepfactor.graph.rewrites.concat_sum import CONCAT_SUM
from sepfactor.graph.rewrites.conv_1d import CONV_1D
from sepfactor.graph.rewrites.conv_conv import CONV_CONV
from sepfactor.graph.rewrites.depthwise import DEPTHWISE
from sepfactor.graph.rewrites.driver import Rewritten, apply
from sepfactor.graph.rewrites.fold_backward import FOLD_BACKWARD
from sepfactor.graph.rewrites.fold_forward import FOLD_FORWARD
from sepfactor.graph.rewrites.gate import GATE
from sepfactor.graph.rewrites.gelu_tanh import GELU_TANH
from sepfactor.graph.rewrites.global_pool import GLOBAL_POOL
from sepfactor.graph.rewrites.group_pixels import GROUP_PIXELS
from sepfactor.graph.rewrites.hard_sigmoid import HARD_SIGMOID
from sepfactor.graph.rewrites.hard_swish import HARD_SWISH
from sepfactor.graph.rewrites.lay_down import LAY_DOWN
from sepfactor.graph.rewrites.leaky_relu import LEAKY_RELU
from sepfactor.graph.rewrites.mish import MISH
from sepfactor.graph.rewrites.one_hot import ONE_HOT
from sepfactor.graph.rewrites.pool_first import POOL_FIRST
from sepfactor.graph.rewrites.prelu import PRELU
from sepfactor.graph.rewrites.repeat import REPEAT
from sepfactor.graph.rewrites.round_channels import ROUND_CHANNELS
from sepfactor.graph.rewrites.rule import Rule
from sepfactor.graph.rewrites.select import SELECT
from sepfactor.graph.rewrites.shortcut import PAD_CHANNELS, SUBSAMPLE
from sepfactor.graph.rewrites.sizes_known import SIZES_KNOWN
from sepfactor.graph.rewrites.softmax_axis import SOFTMAX_AXIS
from sepfactor.graph.rewrites.table import TABLE
from sepfactor.graph.rewrites.whole_slice import WHOLE_SLICE

REWRITES: tuple[Rule, ...] = (
    *(SIZES_KNOWN, ONE_HOT, TABLE, WHOLE_SLICE),
    *(HARD_SWISH, HARD_SIGMOID, LEAKY_RELU, MISH, GELU_TANH),
    *(FOLD_BACKWARD, FOLD_FORWARD, CONV_CONV, GATE, POOL_FIRST, SELECT, REPEAT, GLOBAL_POOL),
    CONV_1D,
    *(ROUND_CHANNELS, DEPTHWISE, PRELU, CLIP, CARRY_LEAKY_RELU, SUBSAMPLE, PAD_CHANNELS),
    *(SOFTMAX_AXIS, LAY_DOWN, GROUP_PIXELS, CONCAT_SUM),
)
"""Every rule. What gives operators their names comes first, so that weights are folded around those; what
stays after folding comes last."""

__all__ = ["REWRITES", "Chain", "Rewritten", "Rule", "apply", "rewrite"]
