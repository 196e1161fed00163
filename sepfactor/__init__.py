"""sepfactor: faster ONNX networks by separable factorisation of their convolutions.

The public API is what ``__all__`` lists; it is imported on first use, so that importing the package
and asking the command line for help stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sepfactor.benchmark import bench
    from sepfactor.comparison import compare
    from sepfactor.deliver.result import Result
    from sepfactor.errors import SepfactorError
    from sepfactor.inspection import inspect
    from sepfactor.options import LayerOptions, Options
    from sepfactor.pipeline import apply, compress, plan, profile
    from sepfactor.plans.document import Plan
    from sepfactor.tidying import tidy

__version__ = "0.1.0"

_HOMES = {
    "LayerOptions": "sepfactor.options",
    "Options": "sepfactor.options",
    "Plan": "sepfactor.plans.document",
    "apply": "sepfactor.pipeline",
    "plan": "sepfactor.pipeline",
    "profile": "sepfactor.pipeline",
    "Result": "sepfactor.deliver.result",
    "SepfactorError": "sepfactor.errors",
    "bench": "sepfactor.benchmark",
    "compare": "sepfactor.comparison",
    "compress": "sepfactor.pipeline",
    "inspect": "sepfactor.inspection",
    "tidy": "sepfactor.tidying",
}

__all__ = [
    "LayerOptions",
    "Options",
    "Plan",
    "Result",
    "SepfactorError",
    "__version__",
    "apply",
    "bench",
    "compare",
    "compress",
    "inspect",
    "plan",
    "profile",
    "tidy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
