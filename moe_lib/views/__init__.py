"""Pictures of routing: matplotlib figures of a reading, and the explorer, a widget to play with.

A folder is a widget: widget.py in Python, its .js and .css, figure.py its still picture, payload.py
what the page is sent, words.py its sentences. What several share is in `kit/`; `figures/` has the
pictures that are no widget.

Views draw records and know no model: a Routing, a RoutingTrace or what `tracing` reads from them;
the steps of a training (StepReport, BalanceRecorder); of tuning a Comparison and a TriedText. A
widget that wants new records hands the model that it was given to `tracing`, or calls a function
that it was given; the BalanceDashboard alone steers a training of its own.
`tests/test_rooms.py` holds them to that.

Names are imported on first use, and matplotlib when a picture is drawn: to open an explorer needs
neither scikit-learn nor pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING

_HOME = {
    "RoutingExplorer": "explorer.widget",
    "TryOut": "tryout.widget",
    "TuningComparator": "tuning_comparator.widget",
    "affinity_figure": "explorer.figure",
    "contrast": "kit.palette",
    "expert_colour": "kit.palette",
    "explore": "explorer.widget",
    "explorer_figure": "explorer.figure",
    "load_figure": "explorer.figure",
    "token_figure": "explorer.figure",
}
__all__ = [
    "RoutingExplorer",
    "TryOut",
    "TuningComparator",
    "affinity_figure",
    "contrast",
    "expert_colour",
    "explore",
    "explorer_figure",
    "load_figure",
    "token_figure",
]

if TYPE_CHECKING:
    from moe_lib.views.explorer.figure import (
        affinity_figure,
        explorer_figure,
        load_figure,
        token_figure,
    )
    from moe_lib.views.explorer.widget import RoutingExplorer, explore
    from moe_lib.views.kit.palette import contrast, expert_colour
    from moe_lib.views.tryout.widget import TryOut
    from moe_lib.views.tuning_comparator.widget import TuningComparator


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f"moe_lib.views.{_HOME[name]}"), name)
    raise AttributeError(
        f"module 'moe_lib.views' has no attribute {name!r}; it has: {', '.join(__all__)}"
    )


def __dir__():
    return sorted(set(globals()) | set(__all__))
