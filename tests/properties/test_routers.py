"""Any router of any legal size, on any tokens: what has to hold of every Routing."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from moe_lib.model import ROUTERS, make_router
from moe_lib.model.routers.capacity import capacity, limit_experts
from tests.properties.settings import few


@st.composite
def routers(draw, names=tuple(ROUTERS)):
    """(router, k) of a legal size."""
    kind = ROUTERS[draw(st.sampled_from(names))]
    groups = draw(st.integers(2, 3)) if kind.needs_groups else 1
    experts = groups * draw(st.integers(2, 5))
    fixed = {"all": experts, None: draw(st.integers(kind.fewest_k, experts))}
    k = fixed.get(kind.only_k, kind.only_k)
    options = {"n_group": groups} if groups > 1 else {}
    if kind.by_token_id:
        options["vocab_size"] = 50
    if "norm_topk_prob" in kind.options:
        options["norm_topk_prob"] = k > 1 and draw(st.booleans())
    torch.manual_seed(draw(st.integers(0, 99)))
    return make_router(kind.name, 8, experts, k, **options).train(draw(st.booleans()))


@st.composite
def calls(draw):
    """Arguments of a router's call."""
    tokens, sequences = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    tokens *= sequences
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    x = torch.randn(tokens, 8, generator=generator) * draw(st.sampled_from([0.0, 1.0, 50.0]))
    ids = torch.randint(0, 50, (tokens,), generator=generator)
    mask = torch.rand(tokens, generator=generator) < draw(st.sampled_from([0.3, 0.9, 2.0]))
    return x, ids, draw(st.sampled_from([None, mask])), sequences


@few
@given(routers(), calls())
def test_every_routing_is_sound(router, call):
    x, _, mask, _ = call
    routing = router(*call)
    tokens, n_experts = len(x), router.n_routed_experts
    assert routing.scores.shape == routing.logits.shape == (tokens, n_experts)
    assert routing.experts.shape == routing.weights.shape == routing.kept.shape
    assert int(routing.experts.min()) >= 0 and int(routing.experts.max()) < n_experts
    assert routing.weights.isfinite().all() and (routing.weights >= 0).all()
    chosen = routing.choices(mask)
    for row, taken in zip(routing.experts.tolist(), chosen.tolist(), strict=True):
        picked = [expert for expert, yes in zip(row, taken, strict=True) if yes]
        assert len(set(picked)) == len(picked), "an expert twice for one token"
    assert int(routing.load(mask).sum()) == int(chosen.sum())
    assert (routing.kept_load(mask) <= routing.load(mask)).all()
    assert 0 <= routing.dropped_share(mask) <= 1
    if router.takes_k_best:
        assert routing.experts.shape[1] == router.num_experts_per_tok
    if router.sums_to_one or router.norm_topk_prob:
        total = torch.where(chosen, routing.weights, 0).sum(1)[chosen.any(1)]
        assert (total <= 1 + 1e-5).all()


@few
@given(routers(("topk", "biased_topk", "noisy_topk", "topk_softmax")), st.data())
def test_an_expert_with_a_logit_of_minus_infinity_is_not_chosen(router, data):
    n_experts, k = router.n_routed_experts, router.num_experts_per_tok
    closed = data.draw(st.sets(st.integers(0, n_experts - 1), max_size=n_experts - k))
    logits = torch.randn(5, n_experts, generator=torch.Generator().manual_seed(0))
    logits[:, list(closed)] = -torch.inf
    routing = router.route(logits)
    assert not closed & set(routing.experts.flatten().tolist())
    assert routing.weights.isfinite().all()


@few
@given(routers(("topk", "topk_softmax")), calls(), st.floats(0.1, 3.0))
def test_no_expert_takes_more_than_its_capacity(router, call, factor):
    _, _, mask, _ = call
    routing = router(*call)
    limited = limit_experts(routing, factor, mask)
    room = capacity(int(routing.choices(mask).sum()), router.n_routed_experts, factor)
    assert int(limited.kept_load(mask).max()) <= room
    full = routing.load(mask) <= room
    assert torch.equal(limited.kept_load(mask)[full], routing.load(mask)[full])
