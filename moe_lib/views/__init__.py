"""Pictures of routing: matplotlib figures of a reading, and the explorer, a widget to play with."""

from moe_lib.views.explorer import RoutingExplorer, explore
from moe_lib.views.figures import affinity_figure, explorer_figure, load_figure, token_figure
from moe_lib.views.palette import contrast, expert_colour

__all__ = ["RoutingExplorer", "affinity_figure", "contrast", "expert_colour", "explore", "explorer_figure",
           "load_figure", "token_figure"]  # fmt: skip
