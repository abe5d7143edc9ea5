"""A plan for writing one token at a time on a CPU: what `generate` runs after the prompt.

A step of one token through a small model takes as long as its operations are many, not as they are
large: the layers' own code runs hundreds, each with a share of Python. So, once per `generate`, the
weights are laid out for such a step (`decoding_layers`), and a step is then a few plain tensor
operations per layer. The prompt goes through the model as ever. Logits differ from the model's by
rounding alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from moe_lib.model.attention import Attention
from moe_lib.model.block import Block
from moe_lib.model.cache import KVCache
from moe_lib.model.experts import Experts
from moe_lib.model.fast.plan_layers import (
    DenseStep,
    HeadsStep,
    LatentStep,
    MixtureStep,
    Norm,
    Product,
    Setting,
)
from moe_lib.model.latent_attention import LatentAttention
from moe_lib.model.layers import RMSNorm, SwiGLU
from moe_lib.model.moe import MoELayer
from moe_lib.model.rotary import rotary_angles

FEWEST_STEPS = 8  # making a plan takes as long as a few steps: for fewer it does not pay
MOST_ROWS = 16  # with more rows the operations are large, and their number matters little

KNOWN = frozenset(
    {
        nn.ModuleList,
        nn.Embedding,
        nn.Linear,
        RMSNorm,
        SwiGLU,
        Block,
        Attention,
        LatentAttention,
        MoELayer,
        Experts,
    }
)


def decoding_plan(
    model: nn.Module, cache: KVCache, attention_mask: Tensor | None = None
) -> "DecodingPlan | None":
    """A plan for the positions that `cache` has room for, or None where the model itself has to
    run.

    model           a LanguageModel in eval mode
    cache           holds the prompt; the plan copies what it holds and does not write into it
    attention_mask  (batch, held positions), False at padding, as the model took it

    None on another device than a CPU, in another type than float32 or float64, for many rows or few
    steps, and for every model that is more than its weights (`computes_by_weights_alone`).
    """
    rows = cache.keys[0].shape[0]
    if (
        cache.room is None
        or cache.room - cache.length < FEWEST_STEPS
        or rows > MOST_ROWS
        or not computes_by_weights_alone(model)
    ):
        return None
    return DecodingPlan(model, cache, attention_mask)


def computes_by_weights_alone(model: nn.Module) -> bool:
    """Do the weights alone say what the model computes? Not with hooks, adapters, quantised
    weights, replaced methods, subclasses, autocast, or a module left in training mode: the plan
    would pass over them."""
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        return False
    parameters, modules = list(model.parameters()), list(model.modules())
    type_of_numbers = parameters[0].dtype
    return (
        _follows(model)
        and type_of_numbers in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and all(
            type(p) is nn.Parameter and p.dtype == type_of_numbers and p.is_cpu for p in parameters
        )
        and all(type(m) in KNOWN or _follows(m) for m in modules)
        and not any(
            m.training or m._forward_hooks or m._forward_pre_hooks or _overrides(m) for m in modules
        )
    )


def _follows(module: nn.Module) -> bool:
    """Does its class say so? LanguageModel and some routers do, for themselves and not for their
    subclasses."""
    return vars(type(module)).get("follows_decoding_plan", False)


def _overrides(module: nn.Module) -> bool:
    """Has this one object a method of its own, as after `module.forward = other`?"""
    return any(
        callable(value) and hasattr(type(module), name) for name, value in vars(module).items()
    )


class DecodingPlan:
    """The steps after the prompt that `cache` holds; see `decoding_plan`.

    step(token (batch,) int64) -> logits (batch, vocab): reads one token per row, at the next
    position
    """

    @torch.inference_mode()
    def __init__(self, model: nn.Module, cache: KVCache, attention_mask: Tensor | None = None):
        setting = _setting(model, cache, attention_mask)
        self.position, self.embedding = cache.length, model.embedding.weight
        self.layers = []
        for block in model.layers:
            attention = LatentStep if type(block.attention) is LatentAttention else HeadsStep
            feed_forward = MixtureStep if type(block.feed_forward) is MoELayer else DenseStep
            self.layers.append(attention(block.attention_norm, block.attention, cache, setting))
            self.layers.append(feed_forward(block.feed_forward_norm, block.feed_forward, setting))
        self.norm, self.head = Norm(model.norm), Product(model.head.weight, None, setting.batch)

    @torch.inference_mode()
    def step(self, token: Tensor) -> Tensor:
        x = F.embedding(
            token, self.embedding
        )  # (batch, hidden_size), the residual stream; each layer adds to it
        for layer in self.layers:
            layer.add_to(x, self.position, token)
        self.position += 1
        return self.head(self.norm(x))


def _setting(model: nn.Module, cache: KVCache, attention_mask: Tensor | None) -> Setting:
    """What all layers share: sizes, cosines and sines of the positions to come, which held
    positions are padding."""
    config, batch, past = model.config, cache.keys[0].shape[0], cache.length
    positions, hide = torch.arange(past, cache.room)[None], None
    if attention_mask is not None:
        real = attention_mask.bool()
        positions = positions - (~real).sum(1, keepdim=True)  # padding does not count
        hide = torch.zeros(batch, 1, cache.room, dtype=cache.keys[0].dtype)
        hide[:, 0, :past].masked_fill_(~real, -torch.inf)
    angles = rotary_angles(positions, config.rotary_dim, config.rope_theta, config.rope_scaling)
    cos, sin = angles.cos(), angles.sin()
    pairs = torch.stack((cos, cos), dim=-1).flatten(-2), torch.stack((-sin, sin), -1).flatten(-2)
    factors = torch.cat(pairs, dim=-1)[:, None]  # (batch or 1, 1, positions, 2r)
    factors = factors.to(cache.keys[0].dtype)
    return Setting(batch, past, cache.room, factors, hide)
