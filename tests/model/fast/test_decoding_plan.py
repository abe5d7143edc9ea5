"""The decoding plan of `generate` against the model itself: equal where it is used, unused where it
would not be."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from moe_lib import LanguageModel, ModelConfig
from moe_lib.model import KVCache, RMSNorm
from moe_lib.model.fast import decoding_plan as decoding
from moe_lib.tracing import experts_off

LATENT = dict(attention="mla", kv_lora_rank=6, qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=5)
EXPERTS = dict(n_routed_experts=6, num_experts_per_tok=2, moe_intermediate_size=8)
YARN = dict(
    rope_type="yarn",
    factor=4.0,
    original_max_position_embeddings=10,
    mscale=0.7,
    mscale_all_dim=0.5,
)
CONFIGS = {
    "mha, dense": dict(),
    "gqa, experts": dict(
        num_attention_heads=4, num_key_value_heads=2, **EXPERTS, norm_topk_prob=True
    ),
    "mqa, untied": dict(num_key_value_heads=1, tie_word_embeddings=False),
    "mla, dense, YaRN": dict(**LATENT, rope_scaling=YARN),
    "mla, shared experts": dict(**LATENT, **EXPERTS, n_shared_experts=2, first_k_dense_replace=1),
    "mla, compressed queries, biases": dict(
        **LATENT,
        q_lora_rank=7,
        attention_bias=True,
        mlp_bias=True,
        **EXPERTS,
        n_shared_experts=1,
        first_k_dense_replace=1,
    ),
    "biases, no shared experts": dict(**LATENT, attention_bias=True, mlp_bias=True, **EXPERTS),
    "group-limited": dict(
        **EXPERTS, router="group_limited", n_group=3, topk_group=2, routed_scaling_factor=1.5
    ),
    "biased, groups": dict(
        **LATENT,
        **EXPERTS,
        router="biased_topk",
        n_group=3,
        topk_group=2,
        n_shared_experts=1,
        capacity_factor=1.0,
    ),
    "a table of tokens first": dict(
        **EXPERTS,
        n_shared_experts=1,
        first_k_dense_replace=1,
        mlp_layer_types=["dense", "hash_moe", "moe"],
        router="biased_topk",
        scoring_func="sqrtsoftplus",
        norm_topk_prob=True,
        routed_scaling_factor=1.5,
    ),
    "one layer": dict(**LATENT, num_hidden_layers=1),
}
PROMPTS = {
    "one row": (torch.tensor([[3, 9, 27, 1, 30]]), None),
    "three rows": (torch.tensor([[3, 9, 27, 1], [5, 6, 7, 8], [2, 2, 0, 1]]), None),
    "padded": (
        torch.tensor([[0, 0, 9, 2], [5, 6, 7, 8], [0, 3, 4, 5]]),
        torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]]),
    ),
}
NEW = 20

pytestmark = pytest.mark.usefixtures("one_thread")


def make(**changes) -> LanguageModel:
    torch.manual_seed(0)
    sizes = dict(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=40,
        initializer_range=0.4,
    )
    model = LanguageModel(ModelConfig(**sizes | changes)).eval()
    with (
        torch.no_grad()
    ):  # weights of norms, biases and selection biases that are seen when left out
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if "norm" in name:
                tensor.copy_(torch.rand_like(tensor) + 0.5)
            elif name.endswith("bias"):
                tensor.copy_(torch.randn_like(tensor) * 0.3)
    return model


@pytest.fixture
def steps(monkeypatch):
    """The steps that plans took, counted."""
    taken = []
    step = decoding.DecodingPlan.step
    monkeypatch.setattr(
        decoding.DecodingPlan, "step", lambda plan, token: taken.append(token) or step(plan, token)
    )
    return taken


def ordinary(monkeypatch):
    monkeypatch.setattr(decoding, "FEWEST_STEPS", 10**9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS.keys())
@torch.no_grad()
def test_every_step_gives_the_logits_of_the_model(changes, prompt, dtype):
    model, (ids, mask) = make(**changes).to(dtype), PROMPTS[prompt]
    cache = KVCache(room=ids.shape[1] + NEW)
    model(ids, attention_mask=mask, cache=cache)
    plan = decoding.decoding_plan(model, cache, mask)
    # in float32 the model itself is up to 2e-5 away from what it gives in float64
    bound = 5e-5 if dtype == torch.float32 else 1e-12
    for token in torch.randint(40, (NEW, len(ids)), generator=torch.Generator().manual_seed(1)):
        mask = None if mask is None else torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
        wanted = model(token[:, None], attention_mask=mask, cache=cache).logits[:, -1]
        assert (plan.step(token) - wanted).abs().max() < bound * wanted.abs().max()


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS.keys())
def test_the_text_is_that_of_the_model(changes, prompt, steps, monkeypatch):
    model, (ids, mask) = make(**changes), PROMPTS[prompt]
    stop = int(model.generate(ids, NEW, attention_mask=mask)[0, ids.shape[1] + 6])
    assert len(steps) == NEW - 1, (
        "the prompt goes through the model, every later token through the plan"
    )
    ways = [
        dict(),
        dict(stop_token_ids=[stop], pad_token_id=39),
        dict(temperature=0.8, top_k=12, top_p=0.9),
    ]

    def write():
        return [
            model.generate(
                ids, NEW, attention_mask=mask, generator=torch.Generator().manual_seed(3), **way
            )
            for way in ways
        ]

    planned = write()
    ordinary(monkeypatch)
    before = len(steps)
    for mine, wanted in zip(planned, write(), strict=True):
        assert torch.equal(mine, wanted)
    assert len(steps) == before


def test_a_text_can_be_trained_on_and_leaves_the_weights_alone(steps):
    model = make(**LATENT)
    before = copy.deepcopy(model.state_dict())
    text = model.generate(PROMPTS["one row"][0], NEW)
    assert steps and not text.is_inference()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    model.train()(text, labels=text).loss.backward()
    assert model.embedding.weight.grad.abs().max() > 0


@pytest.mark.parametrize("changes", [dict(), LATENT | EXPERTS], ids=["mha", "mla, experts"])
@torch.no_grad()
def test_changed_weights_are_seen_by_the_next_call(changes, steps):
    model, ids = make(**changes), PROMPTS["one row"][0]
    first = model.generate(ids, NEW)
    for parameter in model.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    changed = model.generate(ids, NEW)
    assert not torch.equal(changed, first) and torch.equal(
        changed, model.generate(ids, NEW, use_cache=False)
    )
    assert len(steps) == 2 * (NEW - 1)


def test_no_plan_without_a_cache_for_few_steps_many_rows_or_other_types(steps):
    model, ids = make(**LATENT), PROMPTS["one row"][0]
    model.generate(ids, NEW, use_cache=False)
    model.generate(ids, decoding.FEWEST_STEPS - 1)
    model.generate(ids.expand(decoding.MOST_ROWS + 1, -1), NEW)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.generate(ids, NEW)
    list(model.stream(ids, NEW))
    model.to(torch.bfloat16).generate(ids, NEW)
    assert not steps
    model.float().train().generate(ids, decoding.FEWEST_STEPS + 1)
    assert len(steps) == decoding.FEWEST_STEPS and model.training


class LowRank(nn.Module):
    """A linear layer and an update beside it, as LoRA wraps one."""

    def __init__(self, base: nn.Linear):
        super().__init__()
        self.base, self.update = base, nn.Linear(base.in_features, base.out_features, bias=False)

    def forward(self, x):
        return self.base(x) + self.update(x)


class ScaledNorm(RMSNorm):
    def forward(self, x):
        return 2 * super().forward(x)


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


def wrap_a_projection(model):
    model.layers[1].attention.o_proj = LowRank(model.layers[1].attention.o_proj)


def replace_a_forward(model):
    layer = model.layers[0].feed_forward.shared
    forward = layer.forward
    layer.forward = lambda x: 3 * forward(x)


def replace_the_route(model):
    router = model.layers[1].feed_forward.router
    route = router.route
    router.route = lambda logits, mask=None: route(-logits, mask)


def subclass_a_norm(model):
    model.layers[1].feed_forward_norm.__class__ = ScaledNorm  # the last norm would change no argmax


def parametrize_a_weight(model):
    parametrize.register_parametrization(model.layers[0].attention.kv_down_proj, "weight", Halved())


def hook_experts(model):
    model.layers[2].feed_forward.experts.register_forward_hook(
        lambda module, given, output: 2 * output
    )


def hook_before_attention(model):
    model.layers[0].attention.register_forward_pre_hook(
        lambda module, given: (-given[0], *given[1:])
    )


CHANGES = [
    wrap_a_projection,
    replace_a_forward,
    replace_the_route,
    subclass_a_norm,
    parametrize_a_weight,
    hook_experts,
    hook_before_attention,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@torch.no_grad()
def test_what_stands_between_or_beside_the_weights_is_never_passed_over(change, steps):
    model, (ids, _) = make(**LATENT, **EXPERTS, n_shared_experts=1), PROMPTS["three rows"]
    plain = model.generate(ids, NEW)
    assert len(steps) == NEW - 1
    change(model)
    written = model.generate(ids, NEW)
    assert len(steps) == NEW - 1, "no plan"
    assert not torch.equal(written, plain), "and the change acts"
    assert torch.equal(written, model.generate(ids, NEW, use_cache=False))


class Mirrored(LanguageModel):
    def forward(self, *given, **options):
        output = super().forward(*given, **options)
        return dataclasses.replace(output, logits=output.logits[..., torch.arange(39, -1, -1)])


def test_a_subclass_of_the_model_writes_what_it_computes(steps):
    model, (ids, _) = make(), PROMPTS["one row"]
    model.__class__ = Mirrored
    written = model.generate(ids, NEW)
    assert not steps and torch.equal(written, model.generate(ids, NEW, use_cache=False))


def test_hooks_on_the_model_or_on_all_modules_fire_at_every_step(steps):
    model, (ids, _) = make(**EXPERTS), PROMPTS["one row"]
    for register in (model.register_forward_hook, nn.modules.module.register_module_forward_hook):
        seen = []
        handle = register(lambda module, given, output, seen=seen: seen.append(module))
        model.generate(ids, NEW)
        handle.remove()
        assert seen.count(model) == NEW and not steps
    model.generate(ids, NEW)
    assert len(steps) == NEW - 1, "without hooks again as before"


def test_switched_off_experts_stay_off_while_generating(steps):
    model, (ids, _) = make(**EXPERTS), PROMPTS["three rows"]
    plain = model.generate(ids, NEW)
    count = len(steps)
    with experts_off(model, {0: [0, 1, 2], 1: [3, 4]}):
        without = model.generate(ids, NEW)
        assert torch.equal(without, model.generate(ids, NEW, use_cache=False))
    assert len(steps) == count and not torch.equal(without, plain)


def test_a_router_left_in_training_mode_keeps_its_capacity(steps):
    model = make(**EXPERTS, capacity_factor=0.3)
    model.layers[0].feed_forward.router.train()
    model.generate(PROMPTS["three rows"][0], NEW)
    assert not steps
