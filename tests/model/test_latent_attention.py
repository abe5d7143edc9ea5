"""Latent attention: against the paper's equations in loops, absorbed against expanded, its cache,
YaRN, refusals."""

import math

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, load_checkpoint, save_checkpoint
from moe_lib.counting import kv_cache_elements_per_token
from moe_lib.model import KVCache, LatentAttention, rotary_angles, visible_keys
from moe_lib.model.rotary import rotary_magnitude, rotary_speeds, slowed_share, softmax_factor

SMALL = dict(
    vocab_size=40,
    hidden_size=20,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=24,
    n_routed_experts=6,
    num_experts_per_tok=2,
    n_shared_experts=1,
    moe_intermediate_size=8,
    first_k_dense_replace=1,
    max_position_embeddings=48,
    initializer_range=0.3,
    attention="mla",
    kv_lora_rank=10,
    qk_nope_head_dim=6,
    qk_rope_head_dim=4,
    v_head_dim=5,
)
YARN = dict(
    rope_type="yarn", factor=4.0, original_max_position_embeddings=8, beta_fast=4, mscale=1.0
)
VARIANTS = {
    "no query latent": dict(),
    "query latent": dict(q_lora_rank=7),
    "wide values": dict(v_head_dim=16, q_lora_rank=7),
    "biases": dict(q_lora_rank=7, attention_bias=True, mlp_bias=True),
    "yarn, equal mscales": dict(rope_scaling={**YARN, "mscale_all_dim": 1.0}),
    "yarn, unequal mscales": dict(q_lora_rank=7, rope_scaling={**YARN, "mscale_all_dim": 0.5}),
    "yarn, no mscale": dict(rope_scaling=dict(factor=4.0, original_max_position_embeddings=8)),
}
every_variant = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())

pytestmark = pytest.mark.usefixtures("one_thread")


def make(dtype=torch.float32, **changes):
    torch.manual_seed(0)
    model = LanguageModel(ModelConfig(**{**SMALL, **changes})).to(dtype).eval()
    with torch.no_grad():  # zero biases and norms of one would hide what is done with them
        for name, parameter in model.named_parameters():
            if name.endswith(("bias", "norm.weight")):
                parameter += torch.randn_like(parameter) * 0.3
    return model


def ids(batch=2, length=12):
    return torch.randint(0, 40, (batch, length), generator=torch.Generator().manual_seed(3))


def by_the_equations(
    attention: LatentAttention, config: ModelConfig, x: torch.Tensor
) -> torch.Tensor:
    """x (sequence, hidden) float64 -> the same shape: equations 37 to 47, one token and one head at
    a time."""
    n, r, v, rank = (
        config.qk_nope_head_dim,
        config.qk_rope_head_dim,
        config.v_head_dim,
        config.kv_lora_rank,
    )
    weight = {name: parameter.double() for name, parameter in attention.named_parameters()}

    def linear(name, vector):
        return weight[f"{name}.weight"] @ vector + weight.get(f"{name}.bias", 0)

    def norm(name, vector):
        return vector / (vector.square().mean() + 1e-6).sqrt() * weight[f"{name}.weight"]

    def turn(vector, position):
        speeds = rotary_speeds(r, config.rope_theta, config.rope_scaling).double()
        unit = torch.polar(torch.ones_like(speeds), (position * speeds.float()).double())
        turned = (
            torch.view_as_complex(vector.view(-1, 2)) * unit * rotary_magnitude(config.rope_scaling)
        )
        return torch.view_as_real(turned).flatten()

    keys, values, outputs = [], [], []
    for t, h in enumerate(x):
        query = (
            linear("q_up_proj", norm("q_norm", linear("q_down_proj", h)))
            if config.q_lora_rank
            else None
        )
        query = linear("q_proj", h) if query is None else query
        down = linear("kv_down_proj", h)
        latent, shared_key = norm("kv_norm", down[:rank]), turn(down[rank:], t)
        up = linear("kv_up_proj", latent).view(config.num_attention_heads, n + v)
        keys.append([torch.cat((head[:n], shared_key)) for head in up])
        values.append([head[n:] for head in up])
        mixed = []
        for i, q in enumerate(query.view(config.num_attention_heads, n + r)):
            q = torch.cat((q[:n], turn(q[n:], t)))
            scores = torch.stack([q @ keys[j][i] for j in range(t + 1)]) / math.sqrt(n + r)
            weights = (scores * softmax_factor(config.rope_scaling)).softmax(0)
            mixed.append(sum(weights[j] * values[j][i] for j in range(t + 1)))
        outputs.append(linear("o_proj", torch.cat(mixed)))
    return torch.stack(outputs)


@every_variant
@torch.no_grad()
def test_both_forms_follow_the_equations(changes):
    model = make(torch.float64, **changes)
    attention, config = model.layers[1].attention, model.config
    x = torch.randn(1, 10, config.hidden_size, dtype=torch.float64)
    angles = rotary_angles(
        torch.arange(10)[None], config.rotary_dim, config.rope_theta, config.rope_scaling
    )
    wanted = by_the_equations(attention, config, x[0])
    assert wanted.std() > 0.1
    query, memory = attention.query(x, angles), attention.memory(x, angles)
    for attend in (attention.expanded, attention.absorbed):
        given = attention.o_proj(attend(query, memory).transpose(1, 2).flatten(-2))[0]
        # the angles are float32, and a float32 sine is good to 6e-8
        torch.testing.assert_close(given, wanted, rtol=0, atol=1e-6)
    torch.testing.assert_close(attention(x, angles)[0], wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@every_variant
@torch.no_grad()
def test_cache_absorbed_and_expanded_agree_at_every_position(
    changes, dtype, tolerance, monkeypatch
):
    model, x = make(dtype, **changes), ids(length=14)
    plain = model(x).logits
    bound = tolerance * plain.abs().max()

    def step_by_step():
        cache, logits = KVCache(), []
        for chunk in (x[:, :3], *x[:, 3:].split(1, dim=1)):
            logits.append(model(chunk, cache=cache).logits)
        return torch.cat(logits, dim=1)

    calls = []
    absorbed = LatentAttention.absorbed
    monkeypatch.setattr(
        LatentAttention, "absorbed", lambda *given: calls.append(1) or absorbed(*given)
    )
    with_absorption = step_by_step()
    assert len(calls) == 11 * model.config.num_hidden_layers, (
        "eleven tokens after the prompt, in each layer"
    )
    monkeypatch.setattr(LatentAttention, "absorbed", LatentAttention.expanded)
    without = step_by_step()
    for position in range(14):
        for stepped in (with_absorption, without):
            assert (stepped[:, position] - plain[:, position]).abs().max() <= bound, position


@torch.no_grad()
def test_several_tokens_after_a_cache_and_padding_on_the_left():
    model, x = make(torch.float64, q_lora_rank=7), ids(length=12)
    cache = KVCache()
    chunks = [model(chunk, cache=cache).logits for chunk in x.split((4, 5, 3), dim=1)]
    torch.testing.assert_close(torch.cat(chunks, 1), model(x).logits, rtol=0, atol=1e-10)

    padded = torch.cat((torch.zeros(2, 3, dtype=torch.long), x), dim=1)
    mask = torch.cat((torch.zeros(2, 3), torch.ones(2, 12)), dim=1)
    cache = KVCache()
    model(padded[:, :9], attention_mask=mask[:, :9], cache=cache)
    ends = [
        model(padded[:, t : t + 1], attention_mask=mask[:, : t + 1], cache=cache).logits
        for t in range(9, 15)
    ]
    torch.testing.assert_close(torch.cat(ends, 1), model(x).logits[:, 6:], rtol=0, atol=1e-10)


@torch.no_grad()
def test_the_cache_holds_the_latent_and_one_rotary_key_and_no_more():
    model = make()
    cache = KVCache()
    model(ids(batch=3, length=9), cache=cache)
    model(ids(batch=3, length=1), cache=cache)
    assert cache.length == 10 and cache.values == []
    per_token_and_layer = SMALL["kv_lora_rank"] + SMALL["qk_rope_head_dim"]
    assert cache.number_of_elements() == 3 * 10 * SMALL["num_hidden_layers"] * per_token_and_layer
    assert (
        kv_cache_elements_per_token(model.config)
        == SMALL["num_hidden_layers"] * per_token_and_layer
    )
    stored = sum(tensor.untyped_storage().nbytes() for tensor in cache.keys)
    assert stored == 4 * cache.number_of_elements(), "no larger tensor is kept alive behind a view"


@torch.no_grad()
def test_scores_depend_on_distance_alone():
    model = make(torch.float64)
    attention, config = model.layers[0].attention, model.config
    x = torch.randn(1, 8, config.hidden_size, dtype=torch.float64)
    near, far = (
        attention(x, rotary_angles(torch.arange(s, s + 8)[None], config.rotary_dim))
        for s in (0, 30)
    )
    torch.testing.assert_close(near, far, rtol=0, atol=1e-5)
    restarted = attention(x, rotary_angles(torch.arange(8)[None] // 2, config.rotary_dim))
    assert (near - restarted).abs().max() > 1e-3, "positions must matter at all"


@torch.no_grad()
def test_a_missing_yarn_scale_is_invisible_at_position_0_only():
    model, x = make(rope_scaling={**YARN, "mscale_all_dim": 1.0}), ids()
    right = model(x).logits
    for layer in model.layers:
        layer.attention.scale /= softmax_factor(model.config.rope_scaling)
    error = (model(x).logits - right).abs().amax((0, 2))
    assert error[0] < 1e-6 and error[1:].min() > 1e-3


def test_yarn_numbers_by_hand():
    scaling = make(
        rope_scaling=dict(
            factor=40, original_max_position_embeddings=4096, mscale=0.707, mscale_all_dim=0.707
        )
    ).config.rope_scaling
    # DeepSeek-V2, section 3.1.4: sqrt(t) = 0.0707 ln 40 + 1 = 1.2608
    assert (
        softmax_factor(scaling) == pytest.approx(1.2608**2, abs=1e-4)
        and rotary_magnitude(scaling) == 1
    )
    assert rotary_magnitude({**scaling, "mscale_all_dim": None}) == pytest.approx(
        1 + 0.1 * math.log(40)
    )
    assert rotary_magnitude({**scaling, "mscale": 1.0}) == pytest.approx(
        (1 + 0.1 * math.log(40)) / 1.2608, abs=1e-4
    )
    assert rotary_magnitude({**scaling, "attention_factor": 1.5}) == 1.5
    # of 32 pairs, pair i turns 4096 / (2π · 10000^(i/32)) times: 32 times at i = 10.5, once at i =
    # 22.5
    share = slowed_share(64, 10000.0, scaling)
    assert share[:11].tolist() == [0] * 11 and share[23:].tolist() == [1] * 9
    assert share[16] == pytest.approx(6 / 13)  # the ramp runs from 10 to 23
    plain, slowed = rotary_speeds(64), rotary_speeds(64, scaling=scaling)
    assert torch.equal(plain[:11], slowed[:11])
    torch.testing.assert_close(slowed[23:], plain[23:] / 40)


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(truncate=False),
        dict(beta_fast=32, beta_slow=32, factor=1.5),
        dict(attention_factor=1.3),
        dict(mscale=None),
    ],
)
def test_yarn_equals_transformers(changes):
    from transformers import DeepseekV2Config
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = dict(
        rope_type="yarn",
        factor=8.0,
        original_max_position_embeddings=512,
        mscale=0.7,
        mscale_all_dim=0.9,
    )
    rope = {name: value for name, value in (rope | changes).items() if value is not None}
    official = DeepseekV2Config(
        hidden_size=64,
        num_attention_heads=2,
        qk_rope_head_dim=32,
        rope_theta=5000.0,
        max_position_embeddings=4096,
        rope_scaling=dict(rope),
    )
    speeds, magnitude = ROPE_INIT_FUNCTIONS["yarn"](official, "cpu")
    scaling = make(rope_scaling=rope).config.rope_scaling
    torch.testing.assert_close(rotary_speeds(32, 5000.0, scaling), speeds, rtol=3e-7, atol=0)
    assert rotary_magnitude(scaling) == pytest.approx(magnitude)


@torch.no_grad()
def test_a_masked_model_looks_both_ways_past_padding():
    model, x = make(causal=False), ids(batch=1, length=8)
    mask = torch.tensor([[1] * 6 + [0] * 2])
    before = model(x, attention_mask=mask).logits
    later, padding = x.clone(), x.clone()
    later[0, 5], padding[0, 6:] = (x[0, 5] + 1) % 40, (x[0, 6:] + 1) % 40
    assert (model(later, attention_mask=mask).logits - before)[0, :5].abs().max() > 1e-3
    assert (model(padding, attention_mask=mask).logits - before)[0, :6].abs().max() < 1e-5


def test_every_weight_learns_and_both_forms_have_the_same_gradient():
    model = make(torch.float64, **VARIANTS["biases"])
    x = ids()
    model(x, labels=x).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    attention, config = model.layers[0].attention, model.config
    hidden = torch.randn(1, 6, config.hidden_size, dtype=torch.float64)
    angles = rotary_angles(torch.arange(6)[None], config.rotary_dim)
    gradients = []
    for attend in (attention.expanded, attention.absorbed):
        attention.zero_grad()
        attend(
            attention.query(hidden, angles), attention.memory(hidden, angles)
        ).sin().sum().backward()
        gradients.append(attention.kv_up_proj.weight.grad.clone())
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)


@torch.no_grad()
def test_bfloat16_stays_near_float32_in_both_forms():
    model, x = make(q_lora_rank=7), ids()
    attention, hidden = model.layers[0].attention, torch.randn(2, 12, 20)
    angles = rotary_angles(torch.arange(12)[None], 4)
    wanted = attention.expanded(attention.query(hidden, angles), attention.memory(hidden, angles))
    attention, hidden = attention.bfloat16(), hidden.bfloat16()
    query, memory = attention.query(hidden, angles), attention.memory(hidden, angles)
    visible = visible_keys(True, 12, torch.ones(1, 12))
    for given in (attention.expanded(query, memory), attention.absorbed(query, memory, visible)):
        assert given.dtype == torch.bfloat16
        assert (given - wanted).abs().max() < 0.03 * wanted.abs().max()
    assert torch.isfinite(model.bfloat16()(x).logits).all()


def test_checkpoints_keep_latent_attention(tmp_path):
    model = make(**VARIANTS["yarn, unequal mscales"], attention_bias=True, mlp_bias=True)
    loaded, _ = load_checkpoint(save_checkpoint(model, tmp_path / "m"))
    assert loaded.config == model.config and hash(loaded.config) == hash(model.config)
    with torch.no_grad():
        assert torch.equal(loaded(ids()).logits, model(ids()).logits)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (dict(attention="mqa"), ValueError, 'attention: got \'mqa\'; wants "mha" or "mla"'),
        (dict(kv_lora_rank=None), TypeError, "kv_lora_rank: got None; wants a whole number"),
        (dict(v_head_dim=0), ValueError, "v_head_dim: got 0"),
        (dict(q_lora_rank=1.5), TypeError, "q_lora_rank: got 1.5"),
        (dict(qk_rope_head_dim=3), ValueError, "qk_rope_head_dim: got 3; wants an even number"),
        (
            dict(num_key_value_heads=1),
            ValueError,
            "num_key_value_heads: got 1; wants num_attention_heads",
        ),
        (dict(attention_bias=1), TypeError, "attention_bias: got 1"),
        (dict(mlp_bias=None), TypeError, "mlp_bias: got None"),
        (dict(rope_theta=1), ValueError, "rope_theta: got 1"),
        (dict(rope_scaling="yarn"), TypeError, "rope_scaling: got 'yarn'; wants None or a mapping"),
        (
            dict(rope_scaling={**YARN, "rope_type": "linear"}),
            ValueError,
            "rope_scaling: got 'linear'",
        ),
        (
            dict(rope_scaling={**YARN, "betafast": 3}),
            ValueError,
            r"rope_scaling: got \['betafast'\]; wants only",
        ),
        (
            dict(rope_scaling={**YARN, "factor": 0.5}),
            ValueError,
            r"rope_scaling\['factor'\]: got 0.5",
        ),
        (
            dict(rope_scaling=dict(factor=2.0)),
            TypeError,
            "original_max_position_embeddings'\\]: got None",
        ),
        (
            dict(rope_scaling={**YARN, "beta_slow": 8}),
            ValueError,
            r"rope_scaling\['beta_slow'\]: got 8",
        ),
        (
            dict(rope_scaling={**YARN, "mscale": "1"}),
            TypeError,
            r"rope_scaling\['mscale'\]: got '1'",
        ),
        (
            dict(attention="mha"),
            ValueError,
            'kv_lora_rank: got 10; wants None with attention "mha"',
        ),
    ],
)
def test_refusals_name_the_setting(changes, error, message):
    with pytest.raises(error, match=message):
        ModelConfig(**{**SMALL, **changes})


def test_multi_head_attention_refuses_what_belongs_to_latent_attention():
    plain = dict(vocab_size=40)
    for extra in (dict(q_lora_rank=4), dict(rope_scaling=YARN), dict(attention_bias=True)):
        with pytest.raises(ValueError, match=f"{next(iter(extra))}: got"):
            ModelConfig(**plain, **extra)
