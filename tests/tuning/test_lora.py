"""LoRA against explicit formulas and loops, and the promises that every method makes: off, merge, detach, save."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F

from moe_lib import load_checkpoint
from moe_lib.tracing import trace_routing
from moe_lib.tuning import Examples, SequenceClassifier, encode_texts, finetune, fingerprint, load_head, save_head
from moe_lib.tuning.methods import METHODS, LoRA, attached_to, count_trainable, load_adapter
from tests.tuning.small import make_base, random_ids
from tests.tuning.test_finetune import planted

MLA = dict(attention="mla", kv_lora_rank=12, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8, causal=True)
EVERYTHING = ("attention", "dense_ffn", "shared", "experts")


def disturb(attached, seed=1, size=0.3):
    """Give the trained parameters values far from their start: B = 0 would hide every mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in attached.trainable_parameters().values():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def logits(model, ids):
    with torch.no_grad():
        return model(ids).logits


@pytest.fixture(params=[dict(causal=True, first_k_dense_replace=1), {**MLA, "first_k_dense_replace": 1}],
                ids=["attention", "latent attention"])  # fmt: skip
def base(request):
    return make_base(**request.param).eval()


def test_a_fresh_lora_changes_nothing_and_trains_only_itself(base):
    ids = random_ids(2, 9)
    before = logits(base, ids)
    attached = LoRA(rank=2, targets=EVERYTHING).attach(base)
    assert torch.equal(logits(base, ids), before)  # B = 0
    trained = {name for name, parameter in base.named_parameters() if parameter.requires_grad}
    assert trained == set(attached.trainable_parameters()) and len(trained) > 20
    disturb(attached)
    assert (logits(base, ids) - before).abs().max() > 0.1
    attached.enabled = False
    assert torch.equal(logits(base, ids), before)
    attached.enabled = True
    assert (logits(base, ids) - before).abs().max() > 0.1


def test_output_and_gradients_of_a_linear_are_those_of_the_formula():
    base = make_base().eval()
    linear = base.layers[0].attention.q_proj
    attached = LoRA(rank=3, alpha=12, targets=("layers.0.attention.q_proj",)).attach(base)
    disturb(attached)
    wrapped, x = base.layers[0].attention.q_proj, torch.randn(5, 16)
    A, B = (wrapped.A.detach().clone().requires_grad_(), wrapped.B.detach().clone().requires_grad_())
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
        for expert, weight in zip(routing.experts[token].tolist(), routing.weights[token], strict=True):
            gate, up = plain.experts.gate_up_proj[expert].chunk(2)
            gate = gate + 3 * lora.B_gate_up[expert, 0] @ lora.A_gate_up[expert, 0]
            up = up + 3 * lora.B_gate_up[expert, 1] @ lora.A_gate_up[expert, 1]
            down = plain.experts.down_proj[expert] + 3 * lora.B_down[expert, 0] @ lora.A_down[expert, 0]
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


def test_merged_and_unmerged_agree_and_unmerging_gives_the_same_bits_back(base):
    ids = random_ids(2, 9)
    weights = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    attached = LoRA(rank=2, targets=EVERYTHING).attach(base)
    disturb(attached)
    expected = logits(base, ids)
    attached.merge()
    assert set(base.state_dict()) == set(weights)  # a plain model again
    torch.testing.assert_close(logits(base, ids), expected, atol=1e-5, rtol=1e-5)
    attached.unmerge()
    assert torch.equal(logits(base, ids), expected)
    attached.detach()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in base.state_dict().items())
    assert all(parameter.requires_grad for parameter in base.parameters()) and attached_to(base) is None


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
    for targets in (("attention",), ("dense_ffn",), ("shared", "experts"), ("layers.*.o_proj", "dense_ffn")):
        method = LoRA(rank=r, targets=targets)
        by_hand = sum(r * sum(linear.weight.shape) for path, linear in base.named_modules()
                      if isinstance(linear, torch.nn.Linear) and _in_group(path, targets))  # fmt: skip
        by_hand += count_trainable(experts, config) if "experts" in targets else 0
        attached = method.attach(base)
        assert attached.n_trainable == count_trainable(method, config) == by_hand > 0
        attached.detach()


def _in_group(path, targets):
    return (("attention" in targets and ".attention." in path)
            or ("dense_ffn" in targets and path.startswith("layers.0.feed_forward."))
            or ("shared" in targets and ".shared." in path)
            or ("layers.*.o_proj" in targets and path.endswith("o_proj")))  # fmt: skip


def test_counts_of_deepseek_v2_lite_without_building_it():
    """27 layers, 26 of them with 64 experts of width 1408: 82,944 numbers per expert at rank 8."""
    from moe_lib import ModelConfig

    lite = ModelConfig(vocab_size=102400, hidden_size=2048, num_hidden_layers=27, num_attention_heads=16,
                       intermediate_size=10944, n_routed_experts=64, num_experts_per_tok=6, n_shared_experts=2,
                       moe_intermediate_size=1408, first_k_dense_replace=1, max_position_embeddings=4096)  # fmt: skip
    assert count_trainable(LoRA(rank=8, targets=("experts",)), lite) == 26 * 64 * 82_944 == 138_018_816


def test_saved_and_loaded_on_the_same_base_only(base, tmp_path):
    ids, mark = random_ids(2, 9), fingerprint(base)
    twin = copy.deepcopy(base)
    method = LoRA(rank=2, alpha=5, targets=("attention", "experts"))
    attached = method.attach(base)
    disturb(attached)
    attached.save(tmp_path)
    card = json.loads((tmp_path / "adapter.json").read_text())
    assert card["method"] == "LoRA" and card["base"] == mark and card["settings"]["alpha"] == 5
    loaded = load_adapter(tmp_path, twin)
    assert loaded.method == method and torch.equal(logits(twin, ids), logits(base, ids))

    other = make_base(seed=5, **{name: getattr(base.config, name) for name in
                                 ("causal", "first_k_dense_replace", "attention", "kv_lora_rank", "qk_nope_head_dim",
                                  "qk_rope_head_dim", "v_head_dim")})  # fmt: skip
    with pytest.raises(ValueError, match=f"{fingerprint(other)}.*{mark}"):
        load_adapter(tmp_path, other)
    assert attached_to(other) is None and all(parameter.requires_grad for parameter in other.parameters())
    (tmp_path / "adapter.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"adapter\.safetensors"):
        load_adapter(tmp_path, other)


def test_a_file_that_does_not_fit_its_settings_leaves_the_model_alone(tmp_path):
    base = make_base()
    LoRA(rank=2).attach(base).save(tmp_path)
    attached_to(base).detach()
    card = json.loads((tmp_path / "adapter.json").read_text())
    card["settings"]["rank"] = 3
    (tmp_path / "adapter.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="does not fit"):
        load_adapter(tmp_path, base)
    assert attached_to(base) is None
    card["method"] = "Magic"
    (tmp_path / "adapter.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=", ".join(METHODS)):
        load_adapter(tmp_path, base)


def test_finetune_trains_the_lora_and_the_head_and_not_one_bit_of_the_base():
    head = SequenceClassifier(make_base(initializer_range=0.1), 2)
    before = {name: tensor.clone() for name, tensor in head.base.state_dict().items()}
    run = finetune(head, Examples(planted(100), 10), epochs=5, learning_rate=1e-2, weight_decay=0.5,
                   method=LoRA(rank=4, alpha=16, targets=EVERYTHING[::2]))  # fmt: skip
    assert run.history["loss"].iloc[-5:].mean() < 0.3 < 0.5 < run.history["loss"].iloc[:5].mean()
    assert all(entry.abs().max() > 0 for name, entry in run.attached.trainable_parameters().items() if ".B" in name)
    run.attached.detach()
    assert all(torch.equal(tensor, before[name]) for name, tensor in head.base.state_dict().items())


def test_training_goes_on_with_what_is_attached_but_not_while_merged_or_off():
    head = SequenceClassifier(make_base(), 2)
    attached = finetune(head, Examples(planted(20), 10), steps=2, method=LoRA(rank=2)).attached
    first = {name: p.clone() for name, p in attached.trainable_parameters().items()}
    assert finetune(head, Examples(planted(20), 10), steps=2, method=attached).attached is attached
    assert all(not torch.equal(p, first[name]) for name, p in attached.trainable_parameters().items())
    attached.merge()
    with pytest.raises(ValueError, match="unmerge"):
        finetune(head, Examples(planted(20), 10), steps=2, method=attached)
    attached.unmerge()
    attached.enabled = False
    with pytest.raises(ValueError, match="switched off"):
        finetune(head, Examples(planted(20), 10), steps=2, method=attached)


def test_what_is_refused(tmp_path):
    base = make_base(causal=True)
    head = SequenceClassifier(base, 2)
    attached = LoRA(rank=2).attach(base)
    with pytest.raises(ValueError, match="LoRA attached"):
        LoRA(rank=4).attach(base)
    with pytest.raises(ValueError, match="merge or detach"):
        save_head(head, tmp_path / "head")
    with pytest.raises(ValueError, match="not merged"):
        attached.unmerge()
    attached.merge()
    for forbidden in (attached.merge, lambda: setattr(attached, "enabled", False)):
        with pytest.raises(ValueError, match="not merged"):
            forbidden()
    with torch.no_grad():
        base.layers[0].attention.q_proj.weight.add_(1.0)  # somebody trained the merged weights
    with pytest.raises(ValueError, match="changed since merge"):
        attached.unmerge()
    with pytest.raises(TypeError, match=r"head\.base"):
        LoRA().attach(head)
    with pytest.raises(ValueError, match="another model"):
        attached.attach(make_base())


@pytest.mark.parametrize("wrong, words", [
    (dict(rank=0), "rank"), (dict(alpha=0), "alpha"), (dict(dropout=1.0), "dropout"), (dict(targets=()), "targets"),
    (dict(targets="attention"), "targets"), (dict(targets=("experts",), dropout=0.1), "dropout"),
])  # fmt: skip
def test_bad_settings_are_named(wrong, words):
    with pytest.raises((ValueError, TypeError), match=words):
        LoRA(**wrong)


def test_targets_that_do_not_fit_are_named_and_leave_the_model_alone():
    base = make_base()
    for target, words in (("layers.*.k_proj_typo", "k_proj_typo"), ("head", "embedding"), ("embedding", "Embedding"),
                          ("layers.0.feed_forward.router", "Router"), ("dense_ffn", "dense_ffn")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            LoRA(targets=(target,)).attach(base)
        assert attached_to(base) is None and all(parameter.requires_grad for parameter in base.parameters())


def test_merging_for_good_leaves_a_plain_model_that_can_be_saved_and_trained(base, tmp_path):
    head = SequenceClassifier(base, 2).eval()
    attached = LoRA(rank=2).attach(base)
    disturb(attached)
    ids = random_ids(2, 9)
    expected = logits(head, ids)
    assert attached.merge_and_unload() is base and attached_to(base) is None
    assert all(parameter.requires_grad for parameter in base.parameters())
    save_head(head, tmp_path)
    loaded, _, _ = load_head(tmp_path)
    torch.testing.assert_close(logits(loaded, ids), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="taken off"):
        attached.save(tmp_path)


def test_a_deepcopy_has_a_method_of_its_own(base):
    ids = random_ids(2, 9)
    attached = LoRA(rank=2, targets=EVERYTHING).attach(base)
    disturb(attached)
    expected = logits(base, ids)
    twin = copy.deepcopy(base)
    assert attached_to(twin) is not attached and attached_to(twin).model is twin
    attached_to(twin).enabled = False
    assert torch.equal(logits(base, ids), expected) and not torch.equal(logits(twin, ids), expected)
    attached_to(twin).detach()
    assert attached_to(base) is attached and torch.equal(logits(base, ids), expected)


def test_dropout_acts_in_training_only_and_on_the_lora_only():
    base = make_base().eval()
    ids = random_ids(2, 9)
    attached = LoRA(rank=2, dropout=0.5).attach(base)
    assert torch.equal(logits(base, ids), logits(base, ids))  # a model in eval mode stays in eval mode
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
    assert any(not torch.equal(a.experts, b.experts) for a, b in zip(before.layers, changed.layers, strict=True))
    attached.enabled = False
    again = trace_routing(model, **batch)
    assert all(torch.equal(a.experts, b.experts) for a, b in zip(before.layers, again.layers, strict=True))
