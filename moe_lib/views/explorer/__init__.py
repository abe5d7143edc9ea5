"""The routing explorer: which expert reads which token."""

from moe_lib.views.explorer.widget import RoutingExplorer, explore

__all__ = ["RoutingExplorer", "explore"]
