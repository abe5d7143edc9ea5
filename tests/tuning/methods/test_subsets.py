"""Methods that train a part of the model in place: which part, how many numbers, and the promises
of every method."""

import pytest
import torch

from moe_lib.tuning import Examples, SequenceClassifier, finetune
from moe_lib.tuning.methods import (
    AddedBias,
    BiasOnly,
    Full,
    HeadOnly,
    RouterOnly,
    count_trainable,
    load_adapter,
)
from tests.tuning.methods.promises import (
    BASES,
    V3_ROUTER,
    check_off_copied_and_detached,
    check_saved_and_loaded,
    check_training,
    disturb,
    logits,
    same,
    state,
)
from tests.tuning.small import make_base
from tests.tuning.test_finetune import planted

BIASED = {
    **BASES["masked, latent"],
    "router": "topk_softmax",
    "first_k_dense_replace": 1,
    "q_lora_rank": 6,
}
CASES = [(Full(), changes) for changes in BASES.values()]
CASES += [(RouterOnly(), changes) for changes in BASES.values()] + [
    (RouterOnly(), dict(router="noisy_topk"))
]
CASES += [
    (BiasOnly(), BASES["masked, latent"]),
    (BiasOnly(), BIASED),
    (BiasOnly(), dict(router="topk_softmax")),
]
CASES += [(AddedBias(), BASES["masked"]), (AddedBias(), BASES["latent"])]
NAMES = [f"{type(method).__name__} {number}" for number, (method, _) in enumerate(CASES)]


@pytest.mark.parametrize(("method", "changes"), CASES, ids=NAMES)
def test_counts_off_is_the_base_and_detach_restores_it(method, changes):
    check_off_copied_and_detached(method, **changes)


@pytest.mark.parametrize(
    ("method", "changes"), [*CASES[2:3], *CASES[6:7], *CASES[9:11], *CASES[-1:]]
)
def test_saved_and_loaded_elsewhere(method, changes, tmp_path):
    check_saved_and_loaded(method, tmp_path, **changes)


def test_numbers_by_hand():
    config = make_base(**BIASED).config
    per_attention = 6 + (12 + 4) + 16  # query latent; latent and rotary key; output
    dense, shared = 2 * 16 + 16, 2 * 8 + 16
    assert (
        count_trainable(BiasOnly(), config) == 2 * per_attention + dense + shared + 4
    )  # 4: bias of the router
    assert count_trainable(RouterOnly(), config) == 4 * 16 + 4
    assert count_trainable(AddedBias(), config) == 2 * 2 * 16
    assert count_trainable(HeadOnly(), config) == 0


def test_routers_alone_move_and_their_selection_bias_with_them(tmp_path):
    changes = BASES["latent"]
    names = {name for name, _ in make_base(**changes).state_dict().items() if ".router." in name}
    frozen = [name for name in make_base(**changes).state_dict() if name not in names]
    moved, run = check_training(RouterOnly(), frozen=frozen, **changes)
    assert moved == ["layers.1.feed_forward.router.weight"] and run.attached.n_trainable == 4 * 16
    assert names == {
        "layers.1.feed_forward.router.weight",
        "layers.1.feed_forward.router.selection_bias",
    }

    head = SequenceClassifier(make_base(**changes), 2)
    run = finetune(head, Examples(planted(20), 4), steps=5, method=RouterOnly())
    bias = head.base.layers[1].feed_forward.router.selection_bias
    assert bias.abs().max() > 0  # moved by the load, so it is a part of what was learned
    wanted = logits(head.base)
    run.attached.save(tmp_path)
    other = make_base(**changes).eval()
    load_adapter(tmp_path, other)
    assert torch.equal(other.layers[1].feed_forward.router.selection_bias, bias)
    assert torch.equal(logits(other), wanted)
    run.attached.enabled = False
    assert bias.abs().max() == 0


def test_biases_and_nothing_else_move():
    moved, _ = check_training(BiasOnly(), **BIASED)
    assert moved and all(name.endswith("bias") for name in moved)
    moved, run = check_training(AddedBias(), **BASES["latent"])
    assert moved == [] and run.attached.n_trainable == 64


def test_head_only_leaves_the_base_and_the_bias_of_its_routers(tmp_path):
    head = SequenceClassifier(make_base(**V3_ROUTER), 2)
    before, classifier = state(head.base), head.classifier.weight.clone()
    run = finetune(
        head,
        Examples(planted(20), 4),
        steps=5,
        learning_rate=1e-2,
        weight_decay=0.1,
        method=HeadOnly(),
    )
    assert same(state(head.base), before) and not torch.equal(head.classifier.weight, classifier)
    assert run.attached.n_trainable == 0
    run.attached.save(tmp_path)
    load_adapter(tmp_path, make_base(**V3_ROUTER))
    run.attached.detach()
    with pytest.raises(ValueError, match="model: got 'no trainable parameter'"):
        finetune(make_base(**V3_ROUTER), Examples(planted(4), 4), steps=1, method=HeadOnly())


def test_full_is_what_finetune_does_without_a_method():
    one, other = (SequenceClassifier(make_base(**V3_ROUTER), 2) for _ in range(2))
    other.load_state_dict(one.state_dict())
    before = state(one.base)
    runs = [
        finetune(head, Examples(planted(20), 4), steps=5, learning_rate=1e-2, method=method)
        for head, method in ((one, Full()), (other, None))
    ]
    assert same(state(one), state(other))
    runs[0].attached.detach()
    assert same(state(one.base), before)


def test_merged_in_place_weights_stay_and_detach_still_undoes_them():
    base = make_base().eval()
    plain = logits(base)
    attached = RouterOnly().attach(base)
    disturb(attached)
    changed = logits(base)
    attached.merge()
    assert torch.equal(logits(base), changed)
    attached.detach()
    assert torch.equal(logits(base), plain)
    attached = RouterOnly().attach(base)
    disturb(attached)
    assert torch.equal(logits(attached.merge_and_unload()), changed)
    assert all(parameter.requires_grad for parameter in base.parameters())


def test_models_without_such_a_part_are_refused():
    dense = make_base(n_routed_experts=0, n_shared_experts=0)
    flags = [p.requires_grad for p in dense.parameters()]
    for method, model, message in (
        (RouterOnly(), dense, "model: got 'no router with weights'"),
        (RouterOnly(), make_base(router="hash"), "model: got 'no router with weights'"),
        (BiasOnly(), make_base(**V3_ROUTER), "model: got 'no bias'"),
    ):
        with pytest.raises(ValueError, match=message):
            method.attach(model)
        with pytest.raises(ValueError, match=message):
            count_trainable(method, model.config)
    assert [p.requires_grad for p in dense.parameters()] == flags
