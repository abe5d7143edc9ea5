"""LoRA against explicit formulas and loops: outputs, gradients, counts, training. Its promises:
test_lora_promises."""

import copy

import pytest
import torch
import torch.nn.functional as F

from moe_lib import load_checkpoint
from moe_lib.tracing import trace_routing
from moe_lib.tuning import Examples, SequenceClassifier, encode_texts, finetune
from moe_lib.tuning.methods import LoRA, count_trainable
from tests.tuning.methods.promises import CAUSAL_MLA, disturb, logits
from tests.tuning.small import make_base, random_ids
from tests.tuning.test_finetune import planted

EVERYTHING = ("attention", "dense_ffn", "shared", "experts")


@pytest.fixture(
    params=[dict(causal=True, first_k_dense_replace=1), {**CAUSAL_MLA, "first_k_dense_replace": 1}],
    ids=["attention", "latent attention"],
)
def base(request):
    return make_base(**request.param).eval()


def test_output_and_gradients_of_a_linear_are_those_of_the_formula():
    base = make_base().eval()
    linear = base.layers[0].attention.q_proj
    attached = LoRA(rank=3, alpha=12, targets=("layers.0.attention.q_proj",)).attach(base)
    disturb(attached)
    wrapped, x = base.layers[0].attention.q_proj, torch.randn(5, 16)
    A, B = (
        wrapped.A.detach().clone().requires_grad_(),
        wrapped.B.detach().clone().requires_grad_(),
    )
    expected = x @ (linear.weight.detach() + 12 / 3 * B @ A).T  # α/r = 4
    torch.testing.assert_close(wrapped(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x @ wrapped.weight.T, expected, atol=1e-5, rtol=1e-5)
    target = torch.randn_like(expected)
    F.mse_loss(wrapped(x), target).backward()
    F.mse_loss(expected, target).backward()
    torch.testing.assert_close(wrapped.A.grad, A.grad)
    torch.testing.assert_close(wrapped.B.grad, B.grad)
    assert linear.weight.grad is None


def test_experts_are_those_of_a_loop_with_a_lora_for_each_matrix():
    base = make_base().eval()
    plain = copy.deepcopy(base.layers[0].feed_forward)
    attached = LoRA(rank=2, alpha=6, targets=("experts",)).attach(base)
    disturb(attached)
    layer, x = base.layers[0].feed_forward, torch.randn(7, 16)
    output, routing = layer(x)
    lora, expected = layer.experts, plain.shared(x)
    for token in range(7):
        for expert, weight in zip(
            routing.experts[token].tolist(), routing.weights[token], strict=True
        ):
            gate, up = plain.experts.gate_up_proj[expert].chunk(2)
            gate = gate + 3 * lora.B_gate_up[expert, 0] @ lora.A_gate_up[expert, 0]
            up = up + 3 * lora.B_gate_up[expert, 1] @ lora.A_gate_up[expert, 1]
            down = (
                plain.experts.down_proj[expert]
                + 3 * lora.B_down[expert, 0] @ lora.A_down[expert, 0]
            )
            expected[token] += weight * (down @ (F.silu(gate @ x[token]) * (up @ x[token])))
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)


def test_an_expert_that_no_token_chooses_gets_no_gradient():
    base = make_base().eval()
    attached = LoRA(rank=2, targets=("experts",)).attach(base)
    disturb(attached)
    output, routing = base.layers[0].feed_forward(torch.randn(1, 16))
    output.sum().backward()
    used = set(routing.experts.flatten().tolist())
    moved = base.layers[0].feed_forward.experts.A_down.grad.flatten(1).abs().sum(1) > 0
    assert {expert for expert in range(4) if moved[expert]} == used and len(used) == 2


def test_generation_with_a_cache_sees_the_lora_on_every_matrix(base):
    """With a cache latent attention reads kv_up_proj.weight instead of calling the layer."""
    prompt = random_ids(1, 6)
    plain = base.generate(prompt, 12)
    attached = LoRA(rank=2, targets=("attention",)).attach(base)
    disturb(attached, size=0.5)
    with torch.no_grad():
        ids = prompt
        for _ in range(12):  # no cache: the whole text anew for each token
            ids = torch.cat([ids, base(ids).logits[:, -1:].argmax(-1)], 1)
    cached = base.generate(prompt, 12)
    assert torch.equal(cached, ids) and not torch.equal(cached, plain)
    attached.enabled = False
    assert torch.equal(base.generate(prompt, 12), plain)


def test_counts_are_the_formula(base):
    config = base.config
    d, r = config.hidden_size, 3
    experts = LoRA(rank=r, targets=("experts",))
    assert count_trainable(experts, config) == 1 * 4 * 3 * r * (d + config.moe_intermediate_size)
    for targets in (
        ("attention",),
        ("dense_ffn",),
        ("shared", "experts"),
        ("layers.*.o_proj", "dense_ffn"),
    ):
        method = LoRA(rank=r, targets=targets)
        by_hand = sum(
            r * sum(linear.weight.shape)
            for path, linear in base.named_modules()
            if isinstance(linear, torch.nn.Linear) and _in_group(path, targets)
        )
        by_hand += count_trainable(experts, config) if "experts" in targets else 0
        attached = method.attach(base)
        assert attached.n_trainable == count_trainable(method, config) == by_hand > 0
        attached.detach()


def _in_group(path, targets):
    return (
        ("attention" in targets and ".attention." in path)
        or ("dense_ffn" in targets and path.startswith("layers.0.feed_forward."))
        or ("shared" in targets and ".shared." in path)
        or ("layers.*.o_proj" in targets and path.endswith("o_proj"))
    )


def test_counts_of_deepseek_v2_lite_without_building_it():
    """27 layers, 26 of them with 64 experts of width 1408: 82,944 numbers per expert at rank 8."""
    from moe_lib import ModelConfig

    lite = ModelConfig(
        vocab_size=102400,
        hidden_size=2048,
        num_hidden_layers=27,
        num_attention_heads=16,
        intermediate_size=10944,
        n_routed_experts=64,
        num_experts_per_tok=6,
        n_shared_experts=2,
        moe_intermediate_size=1408,
        first_k_dense_replace=1,
        max_position_embeddings=4096,
    )
    assert (
        count_trainable(LoRA(rank=8, targets=("experts",)), lite) == 26 * 64 * 82_944 == 138_018_816
    )


def test_finetune_trains_the_lora_and_the_head_and_not_one_bit_of_the_base():
    head = SequenceClassifier(make_base(initializer_range=0.1), 2)
    before = {name: tensor.clone() for name, tensor in head.base.state_dict().items()}
    run = finetune(
        head,
        Examples(planted(100), 10),
        epochs=5,
        learning_rate=1e-2,
        weight_decay=0.5,
        method=LoRA(rank=4, alpha=16, targets=EVERYTHING[::2]),
    )
    assert run.history["loss"].iloc[-5:].mean() < 0.3 < 0.5 < run.history["loss"].iloc[:5].mean()
    assert all(
        entry.abs().max() > 0
        for name, entry in run.attached.trainable_parameters().items()
        if ".B" in name
    )
    run.attached.detach()
    assert all(torch.equal(tensor, before[name]) for name, tensor in head.base.state_dict().items())


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(rank=0), "rank"),
        (dict(alpha=0), "alpha"),
        (dict(dropout=1.0), "dropout"),
        (dict(targets=()), "targets"),
        (dict(targets="attention"), "targets"),
        (dict(targets=("experts",), dropout=0.1), "dropout"),
    ],
)
def test_bad_settings_are_named(wrong, words):
    with pytest.raises((ValueError, TypeError), match=words):
        LoRA(**wrong)


def test_dropout_acts_in_training_only_and_on_the_lora_only():
    base = make_base().eval()
    ids = random_ids(2, 9)
    attached = LoRA(rank=2, dropout=0.5).attach(base)
    assert torch.equal(
        logits(base, ids), logits(base, ids)
    )  # a model in eval mode stays in eval mode
    disturb(attached)
    base.train()
    assert not torch.equal(logits(base, ids), logits(base, ids))
    attached.enabled = False
    assert torch.equal(logits(base, ids), logits(base, ids))


def test_tracing_and_the_shipped_model(tmp_path):
    model, tokenizer = load_checkpoint("mini-v2")
    texts = ["The card was charged twice.", "How do I list the files of a folder?"]
    batch = Examples(encode_texts(texts, None, tokenizer), 2).at(0)
    before = trace_routing(model, **batch)
    attached = LoRA(rank=4, targets=("attention", "experts")).attach(model)
    disturb(attached, size=0.02)
    changed = trace_routing(model, **batch)
    assert any(
        not torch.equal(a.experts, b.experts)
        for a, b in zip(before.layers, changed.layers, strict=True)
    )
    attached.enabled = False
    again = trace_routing(model, **batch)
    assert all(
        torch.equal(a.experts, b.experts) for a, b in zip(before.layers, again.layers, strict=True)
    )
