"""Tokens and experts in the plane, under any router."""

from moe_lib.views.router_playground.widget import RouterPlayground

__all__ = ["RouterPlayground"]
