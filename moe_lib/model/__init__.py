"""The model: layers, attention, routing, experts, and the language model made of them.

To be read in this order: layers, rotary, attention, latent_attention, routing, routers/, experts,
moe, balance, block, language_model, cache, generation. fast/ gives the same results, sooner.
"""

import types

from moe_lib.model.attention import Attention, visible_keys
from moe_lib.model.balance import (
    communication_balance_loss,
    device_balance_loss,
    expert_balance_loss,
    importance_loss,
    load_entropy,
    load_loss,
    max_violation,
    router_z_loss,
)
from moe_lib.model.cache import KVCache
from moe_lib.model.experts import Experts, run_loop, run_masked, run_sorted
from moe_lib.model.generation import NewToken
from moe_lib.model.language_model import LanguageModel, ModelOutput
from moe_lib.model.latent_attention import LatentAttention
from moe_lib.model.layers import RMSNorm, SwiGLU
from moe_lib.model.moe import MoELayer
from moe_lib.model.rotary import rotary_angles, rotate
from moe_lib.model.routers import *  # every router, also one that is new
from moe_lib.model.routing import NoisyRouting, Routing

_here = {name: thing for name, thing in globals().items() if not name.startswith("_")}
__all__ = [name for name, thing in _here.items() if not isinstance(thing, types.ModuleType)]
