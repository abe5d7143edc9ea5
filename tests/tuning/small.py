"""Tiny models, and a tokenizer made on the spot, for the tests of fine-tuning."""

import torch

from moe_lib import LanguageModel, ModelConfig

SIZES = dict(
    vocab_size=400,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=16,
    n_routed_experts=4,
    num_experts_per_tok=2,
    n_shared_experts=1,
    moe_intermediate_size=8,
    max_position_embeddings=64,
    causal=False,
    initializer_range=0.2,
)


def make_base(seed=0, **changes):
    torch.manual_seed(seed)
    return LanguageModel(ModelConfig(**{**SIZES, **changes}))


def random_ids(*shape, seed=0):
    return torch.randint(20, 400, shape, generator=torch.Generator().manual_seed(seed))


def padded(ids, n_pad, side):
    """ids (batch, S) -> the same with n_pad columns of rubbish on one side, and the mask that hides
    them."""
    rubbish, real = torch.full((len(ids), n_pad), 7), torch.ones_like(ids)
    parts = [(rubbish, torch.zeros_like(rubbish)), (ids, real)]
    parts = parts if side == "left" else parts[::-1]
    return torch.cat([part for part, _ in parts], 1), torch.cat([mask for _, mask in parts], 1)
