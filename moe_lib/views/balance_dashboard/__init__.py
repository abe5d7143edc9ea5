"""A training run to watch, with hands on what balances its experts."""

from moe_lib.views.balance_dashboard.widget import BalanceDashboard

__all__ = ["BalanceDashboard"]
