"""Serving: many requests with one model. Continuous batching and what it is compared with, experts
that stay on disk."""

from moe_lib.serving.arrivals import Arrival, poisson_arrivals
from moe_lib.serving.batching import StaticBatches
from moe_lib.serving.engine import Engine
from moe_lib.serving.offloading import CacheStatistics, cache_statistics, offload_experts
from moe_lib.serving.pages import PagedCache
from moe_lib.serving.requests import QueueFull, Request, Work, Written
from moe_lib.serving.simulation import Served, Simulated, simulate

__all__ = [
    "Arrival",
    "CacheStatistics",
    "Engine",
    "PagedCache",
    "QueueFull",
    "Request",
    "Served",
    "Simulated",
    "StaticBatches",
    "Work",
    "Written",
    "cache_statistics",
    "offload_experts",
    "poisson_arrivals",
    "simulate",
]
