"""The model: layers, attention, routing, experts, and the language model made of them."""

from moe_lib.model.attention import Attention, visible_keys
from moe_lib.model.balance import expert_balance_loss, load_entropy, max_violation
from moe_lib.model.cache import KVCache
from moe_lib.model.experts import Experts, run_loop, run_sorted
from moe_lib.model.language_model import LanguageModel, ModelOutput
from moe_lib.model.layers import RMSNorm, SwiGLU
from moe_lib.model.moe import MoELayer
from moe_lib.model.rotary import rotary_angles, rotate
from moe_lib.model.routing import Routing, TopKRouter

__all__ = [
    "Attention", "Experts", "KVCache", "LanguageModel", "ModelOutput", "MoELayer", "RMSNorm", "Routing", "SwiGLU",
    "TopKRouter", "expert_balance_loss", "load_entropy", "max_violation", "rotary_angles", "rotate", "run_loop",
    "run_sorted", "visible_keys",
]  # fmt: skip
