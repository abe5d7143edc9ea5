"""Serving: many requests with one model. Continuous batching, and what it is compared with."""

from moe_lib.serving.offloading import CacheStatistics, cache_statistics, offload_experts

__all__ = ["CacheStatistics", "cache_statistics", "offload_experts"]
