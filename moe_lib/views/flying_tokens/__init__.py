"""Tokens on their way to experts on other devices, one after the other."""

from moe_lib.views.flying_tokens.widget import FlyingTokens

__all__ = ["FlyingTokens"]
