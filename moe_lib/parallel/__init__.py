"""Several processes, one training: data and expert parallelism, and what they cost."""

from moe_lib.parallel.exchange import Traffic
from moe_lib.parallel.experts import shard_experts, whole_experts
from moe_lib.parallel.guard import guard
from moe_lib.parallel.launching import Finished, launch
from moe_lib.parallel.ranks import RankLost, Ranks, here, join, leave
from moe_lib.parallel.recompute import recompute_activations

__all__ = [
    "Finished",
    "RankLost",
    "Ranks",
    "Traffic",
    "guard",
    "here",
    "join",
    "launch",
    "leave",
    "recompute_activations",
    "shard_experts",
    "whole_experts",
]
