"""Pictures of routing: matplotlib figures of a reading, and the explorer, a widget to play with.

Views draw records and know no model: a Routing, a RoutingTrace or what `tracing` reads from them;
the steps of a training (StepReport, BalanceRecorder); of tuning a Comparison and a TriedText. A
widget that wants new records hands the model that it was given to `tracing`, or calls a function
that it was given; the BalanceDashboard alone steers a training of its own.
`tests/test_rooms.py` holds them to that.
"""

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
