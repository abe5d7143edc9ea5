"""Four kinds of attention at equal size, for the comparison of chapter 08.

Two dense blocks with eight heads of 8 numbers. The heads keep all their keys and values (MHA),
share them in two groups (GQA) or altogether (MQA), or make them out of one latent (MLA, in
DeepSeek-V2's proportions: the latent holds 4 heads' worth of numbers, the rotary key half a
head's). Sharing saves parameters too. They are given back to the feed-forward layers, so that all
models have the same number of parameters to within 0.3 percent. A control tells what that gift
alone does: MQA without it.
"""

import torch

from moe_lib.config import ModelConfig
from moe_lib.counting import count_parameters
from moe_lib.errors import require_one_of
from moe_lib.model import LanguageModel
from moe_lib.validation import Count, Seed, checked

HEADS, HEAD_DIM = 8, 8
KINDS: dict[str, dict] = {
    "MHA": dict(num_key_value_heads=HEADS),
    "GQA": dict(num_key_value_heads=2),
    "MQA": dict(num_key_value_heads=1),
    "MLA": dict(
        attention="mla",
        kv_lora_rank=4 * HEAD_DIM,
        qk_nope_head_dim=HEAD_DIM,
        qk_rope_head_dim=HEAD_DIM // 2,
        v_head_dim=HEAD_DIM,
    ),
}
CONTROL = "MQA, not given back"


@checked
def kind_config(name: str, vocab_size: Count) -> ModelConfig:
    """The config of one of KINDS, its feed-forward layers as wide as makes all models equally
    large; or CONTROL's."""
    require_one_of("name", name, (*KINDS, CONTROL))
    # Wide initial weights and fast rotary positions: attention to the letters before is learnt
    # early.
    base = ModelConfig(
        vocab_size=vocab_size,
        hidden_size=HEADS * HEAD_DIM,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=128,
        max_position_embeddings=256,
        rope_theta=100.0,
        initializer_range=0.1,
    )
    if name == CONTROL:
        return base.replace(**KINDS["MQA"])
    config = base.replace(**KINDS[name])
    missing = count_parameters(base).total - count_parameters(config).total
    per_unit = 3 * base.hidden_size * base.num_hidden_layers  # gate, up and down of every block
    return config.replace(intermediate_size=base.intermediate_size + round(missing / per_unit))


@checked
def make_model(config: ModelConfig, seed: Seed) -> LanguageModel:
    """A fresh model; whatever fits in name and shape starts as in the MHA model of the same
    seed."""
    torch.manual_seed(seed)
    common = LanguageModel(kind_config("MHA", config.vocab_size)).state_dict()
    model = LanguageModel(config)
    own = model.state_dict()
    fitting = {
        name: weight
        for name, weight in common.items()
        if name in own and own[name].shape == weight.shape
    }
    model.load_state_dict(fitting, strict=False)
    return model
