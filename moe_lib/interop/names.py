"""One table of names: which tensors of transformers' DeepSeek-V2 make up each of ours, as views of
ours.

Copying their tensors into these views reads a model, and writing the views under their names
exports it.
"""

from collections.abc import Iterator

from torch import Tensor

_TOP = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
_IN_LAYER = {
    "attention_norm": "input_layernorm",
    "attention.q_proj": "self_attn.q_proj",
    "attention.q_down_proj": "self_attn.q_a_proj",
    "attention.q_norm": "self_attn.q_a_layernorm",
    "attention.q_up_proj": "self_attn.q_b_proj",
    "attention.kv_down_proj": "self_attn.kv_a_proj_with_mqa",
    "attention.kv_norm": "self_attn.kv_a_layernorm",
    "attention.kv_up_proj": "self_attn.kv_b_proj",
    "attention.o_proj": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate_proj": "mlp.gate_proj",
    "feed_forward.up_proj": "mlp.up_proj",
    "feed_forward.down_proj": "mlp.down_proj",
    "feed_forward.router": "mlp.gate",
    "feed_forward.shared.gate_proj": "mlp.shared_experts.gate_proj",
    "feed_forward.shared.up_proj": "mlp.shared_experts.up_proj",
    "feed_forward.shared.down_proj": "mlp.shared_experts.down_proj",
}


def stacked_name(ours: str) -> str:
    """Their name of our parameter, experts stacked as in the memory of transformers.

    "layers.3.attention.kv_norm.weight" -> "model.layers.3.self_attn.kv_a_layernorm.weight"
    """
    if ours in _TOP:
        return _TOP[ours]
    _, layer, inside = ours.split(".", 2)
    if inside.startswith("feed_forward.experts."):
        return f"model.layers.{layer}.mlp.{inside.removeprefix('feed_forward.')}"
    module, kind = inside.rsplit(".", 1)
    return f"model.layers.{layer}.{_IN_LAYER[module]}.{kind}"


def per_expert_pieces(ours: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Their names of our parameter as files have them, one entry per expert, each with the part of
    `tensor` it is.

    gate_up_proj (E, 2I, hidden) is the gate_proj (I, hidden) and up_proj of every expert; down_proj
    (E, hidden, I) the down_proj of every expert; any other parameter is one piece.
    """
    name = stacked_name(ours)
    if ".mlp.experts." not in name:
        yield name, tensor
        return
    prefix, kind = name.rsplit(".", 1)
    for number, expert in enumerate(tensor.unbind(0)):
        if kind == "down_proj":
            yield f"{prefix}.{number}.down_proj.weight", expert
        else:
            gate, up = expert.chunk(2, dim=0)
            yield f"{prefix}.{number}.gate_proj.weight", gate
            yield f"{prefix}.{number}.up_proj.weight", up
