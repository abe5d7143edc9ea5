"""Several processes, one training: data and expert parallelism, and what they cost."""

from moe_lib.parallel.checkpoints import load_distributed, save_distributed
from moe_lib.parallel.exchange import Traffic
from moe_lib.parallel.experts import shard_experts
from moe_lib.parallel.guard import guard
from moe_lib.parallel.launching import Finished, launch
from moe_lib.parallel.ranks import RankLost, Ranks, here, join, leave
from moe_lib.parallel.recompute import recompute_activations
from moe_lib.parallel.sharding import shard_rest, whole_model

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
    "load_distributed",
    "recompute_activations",
    "save_distributed",
    "shard_experts",
    "shard_rest",
    "whole_model",
]
