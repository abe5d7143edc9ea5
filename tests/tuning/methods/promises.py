"""What every method promises, checked for one method on one base."""

import copy

import pytest
import torch

from moe_lib.tuning import Examples, SequenceClassifier, finetune
from moe_lib.tuning.methods import attached_to, count_trainable, load_adapter
from tests.tuning.small import make_base, random_ids
from tests.tuning.test_finetune import planted

MLA = dict(attention="mla", kv_lora_rank=12, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8)
CAUSAL_MLA = {**MLA, "causal": True}
V3_ROUTER = dict(
    router="biased_topk", scoring_func="sigmoid", norm_topk_prob=True, bias_update_speed=0.01
)
BASES = {
    "masked": dict(),
    "causal, grouped": dict(
        causal=True, num_key_value_heads=1, first_k_dense_replace=1, n_shared_experts=0
    ),
    "latent": dict(causal=True, first_k_dense_replace=1, **MLA, **V3_ROUTER),
    "masked, latent": dict(attention_bias=True, mlp_bias=True, **MLA),
}


def disturb(attached, seed=1, size=0.3):
    """Values far from the start, where a mistake would show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in attached.trainable_parameters().values():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def logits(model, ids=None):
    with torch.no_grad():
        return model(random_ids(2, 9) if ids is None else ids).logits


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def check_off_copied_and_detached(method, **changes):
    base = make_base(**changes).eval()
    base.layers[0].attention_norm.weight.requires_grad_(
        False
    )  # flags must come back as they were, too
    before, flags = state(base), {name: p.requires_grad for name, p in base.named_parameters()}
    plain = logits(base)
    attached = method.attach(base)
    assert attached.n_trainable == count_trainable(method, base.config)
    assert attached.n_trainable == sum(p.numel() for p in base.parameters() if p.requires_grad)
    disturb(attached)
    changed = logits(base)
    assert (changed - plain).abs().max() > 1e-3
    if (
        base.config.causal
    ):  # long enough for generation's fast way, which must see that there is more than weights
        written = base.generate(random_ids(2, 5), 12)
        assert torch.equal(written, base.generate(random_ids(2, 5), 12, use_cache=False))
    attached.enabled = False
    assert torch.equal(logits(base), plain)
    attached.enabled = True
    assert torch.equal(logits(base), changed)
    copied = copy.deepcopy(base)
    disturb(attached_to(copied), seed=2)
    assert torch.equal(logits(base), changed) and not torch.equal(logits(copied), changed)
    attached_to(copied).detach()
    attached.enabled = False
    for model, one in ((copied, copied), (attached.detach(), base)):
        assert model is one and same(state(model), before) and torch.equal(logits(model), plain)
        assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
        assert attached_to(model) is None


def check_saved_and_loaded(method, folder, **changes):
    base = make_base(**changes).eval()
    twin, plain = copy.deepcopy(base), logits(base)
    attached = method.attach(base)
    disturb(attached)
    attached.save(folder)
    wanted = logits(base)
    loaded = load_adapter(folder, twin)
    assert torch.equal(logits(twin), wanted) and not torch.equal(wanted, plain)
    loaded.enabled = False
    assert torch.equal(logits(twin), plain)
    with pytest.raises(
        ValueError, match=r"model: got 'a model with fingerprint \w+'; wants the base that this"
    ):
        load_adapter(folder, make_base(seed=1, **changes))
    return loaded


def check_training(method, frozen=None, **changes):
    """Five steps with weight decay: what the method does not train keeps its bits, what it trains
    moves."""
    head = SequenceClassifier(make_base(**changes), 2)
    before, plain = state(head.base), logits(head.base.eval())
    run = finetune(
        head, Examples(planted(20), 4), steps=5, learning_rate=1e-2, weight_decay=0.1, method=method
    )
    attached = run.attached
    trained = {name: p.detach().clone() for name, p in attached.trainable_parameters().items()}
    now = head.base.state_dict()
    buffers = set() if frozen is None else {name for name in before if name not in frozen}
    for name, tensor in before.items():
        place = name if name in now else ".base.".join(name.rsplit(".", 1))  # inside a wrapper
        if name not in trained and name not in buffers:
            assert torch.equal(now[place], tensor), name
    moved = [
        name
        for name, tensor in trained.items()
        if name in before and not torch.equal(before[name], tensor)
    ]
    assert not torch.equal(logits(head.base), plain)
    attached.detach()
    assert same(state(head.base), before) and torch.equal(logits(head.base), plain)
    return moved, run
