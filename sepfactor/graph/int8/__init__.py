"""Eight-bit integers in a graph: which nodes have a form in them, and how that is written."""

from sepfactor.graph.int8.bench import in_eight_bits_for_timing
from sepfactor.graph.int8.fill import added_around
from sepfactor.graph.int8.units import INT8_OPSET, LARGEST_CODE, Grid, Unit, int8_units
from sepfactor.graph.int8.write import quantized, raw

__all__ = [
    "INT8_OPSET",
    "LARGEST_CODE",
    "Grid",
    "Unit",
    "added_around",
    "in_eight_bits_for_timing",
    "int8_units",
    "quantized",
    "raw",
]
