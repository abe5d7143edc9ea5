"""moe_lib: a small, readable library of Mixture-of-Experts language models, and the course built on
it.

The names below are the public ones. They are imported on first use, so that `import moe_lib` stays
instant and a broken optional package (a widget, say) does not keep the rest from working.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    "ModelConfig": "moe_lib.config",
    "LanguageModel": "moe_lib.model",
    "MoELayer": "moe_lib.model",
    "Routing": "moe_lib.model",
    "RoutingTrace": "moe_lib.tracing",
    "trace_routing": "moe_lib.tracing",
    "explore": "moe_lib.views",
    "train": "moe_lib.training",
    "load_checkpoint": "moe_lib.training",
    "save_checkpoint": "moe_lib.training",
    "device": "moe_lib.devices",
    "RoutingMonitor": "moe_lib.tracing.monitor.monitor",
}
__all__ = list(_HOME)

if TYPE_CHECKING:
    from moe_lib.config import ModelConfig
    from moe_lib.devices import device
    from moe_lib.model import LanguageModel, MoELayer, Routing
    from moe_lib.tracing import RoutingTrace, trace_routing
    from moe_lib.tracing.monitor.monitor import RoutingMonitor
    from moe_lib.training import load_checkpoint, save_checkpoint, train
    from moe_lib.views import explore


def __getattr__(name):
    if name == "interop":  # moe_lib.interop.from_transformers(...), without an import of its own
        return import_module("moe_lib.interop")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(
        f"module 'moe_lib' has no attribute {name!r}; it has: {', '.join(__all__)}"
    )


def __dir__():
    return sorted([*globals(), *__all__])
