"""The expert-cache player: token by token, which experts are in memory and which must be loaded."""

from moe_lib.views.expert_cache.widget import ExpertCachePlayer

__all__ = ["ExpertCachePlayer"]
