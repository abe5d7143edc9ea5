"""Each router against a loop worked out token by token in plain Python."""

import math

import pytest
import torch

from moe_lib.model import ROUTERS, make_router

D, E, TOKENS, VOCABULARY = 6, 8, 24, 30
OPTIONS = {
    "group_limited": dict(n_group=4, topk_group=2),
    "biased_topk": dict(n_group=4, topk_group=2),
    "hash": dict(vocab_size=VOCABULARY),
    "gated_hash": dict(vocab_size=VOCABULARY),
}
K = {"switch": 1, "base": 1, "gshard": 2, "dense": E}


def build(name, training=False, **options):
    torch.manual_seed(0)
    router = make_router(
        name, D, E, options.pop("k", K.get(name, 3)), **{**OPTIONS.get(name, {}), **options}
    )
    for parameter in router.parameters():
        torch.nn.init.normal_(parameter)
    return router.double().train(training)


def inputs():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(TOKENS, D, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, VOCABULARY, (TOKENS,), generator=generator)


def softmax(values):
    exponentials = [math.exp(v) for v in values]
    return [e / sum(exponentials) for e in exponentials]


def sigmoid(values):
    return [1 / (1 + math.exp(-v)) for v in values]


def best(values, k, among=None):
    return sorted(among or range(len(values)), key=lambda e: -values[e])[:k]


def logits_by_hand(router, x):
    rows, weight = x.tolist(), router.weight.tolist()
    return [[sum(w * v for w, v in zip(line, row, strict=True)) for line in weight] for row in rows]


def groups_by_hand(values, score, n_group, topk_group):
    """The experts inside the best groups."""
    size = len(values) // n_group
    groups = [list(range(g * size, (g + 1) * size)) for g in range(n_group)]
    kept = sorted(groups, key=lambda group: -score([values[e] for e in group]))[:topk_group]
    return [e for group in kept for e in group]


def one_token(name, router, logits, token_id):
    """{expert: weight} of one token, in eval mode, as the paper says it."""
    p, k = softmax(logits), router.num_experts_per_tok
    if name == "dense":
        return dict(enumerate(p))
    if name == "switch":
        return {e: p[e] for e in best(p, 1)}
    if name == "topk":
        return {e: p[e] for e in best(p, k)}
    if name == "gshard":
        chosen = best(p, 2)
        return {e: p[e] / sum(p[c] for c in chosen) for e in chosen}
    if name in ("noisy_topk", "topk_softmax"):
        if name == "topk_softmax":
            logits = [v + b for v, b in zip(logits, router.bias.tolist(), strict=True)]
        chosen = best(logits, k)
        return dict(zip(chosen, softmax([logits[e] for e in chosen]), strict=True))
    if name == "group_limited":
        return {e: p[e] for e in best(p, k, groups_by_hand(p, max, 4, 2))}
    if name == "biased_topk":
        s = sigmoid(logits)
        biased = [v + b for v, b in zip(s, router.selection_bias.tolist(), strict=True)]
        allowed = groups_by_hand(biased, lambda values: sum(sorted(values)[-2:]), 4, 2)
        chosen = best(biased, k, allowed)
        return {e: s[e] / sum(s[c] for c in chosen) for e in chosen}
    if name == "hash":
        return {e: 1 / k for e in router.table[token_id].tolist()}
    if name == "gated_hash":
        s = [math.sqrt(math.log1p(math.exp(v))) for v in logits]
        chosen = router.table[token_id].tolist()
        return {e: s[e] / sum(s[c] for c in chosen) for e in chosen}
    if name == "base":
        return {e: sigmoid(logits)[e] for e in best(logits, 1)}
    raise AssertionError(name)


def as_dictionaries(routing):
    columns = (routing.experts.tolist(), routing.weights.tolist(), routing.choices().tolist())
    return [{e: w for e, w, c in zip(*row, strict=True) if c} for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("name", [name for name in ROUTERS if name != "expert_choice"])
def test_equals_the_paper_token_by_token(name):
    router = build(name)
    if name == "biased_topk":
        router.selection_bias.copy_(
            torch.linspace(-0.9, 0.9, E)
        )  # negative sums: a mask of 0 would win over them
    x, ids = inputs()
    rows = [[0.0] * E] * TOKENS if name == "hash" else logits_by_hand(router, x)
    expected = [
        one_token(name, router, row, token) for row, token in zip(rows, ids.tolist(), strict=True)
    ]
    for got, want in zip(as_dictionaries(router(x, ids)), expected, strict=True):
        assert got == pytest.approx(want, abs=1e-9)


def test_expert_choice_equals_its_loop():
    router = build("expert_choice", k=2)
    x, _ = inputs()
    p = [softmax(row) for row in logits_by_hand(router, x)]
    expected = [{} for _ in range(TOKENS)]
    for expert in range(E):
        for token in sorted(range(TOKENS), key=lambda t: -p[t][expert])[: TOKENS * 2 // E]:
            expected[token][expert] = p[token][expert]
    routing = router(x)
    for got, want in zip(as_dictionaries(routing), expected, strict=True):
        assert got == pytest.approx(want, abs=1e-9)
    assert routing.load().tolist() == [6] * E, "the load is even by construction"
    assert len({len(token) for token in expected}) > 2, "and the number of experts per token is not"
    assert not (routing.weights * ~routing.kept).any()


def test_base_assignment_is_the_best_even_one():
    """Against all even assignments of 6 tokens to 3 experts, tried one by one."""
    from itertools import permutations

    torch.manual_seed(3)
    router = make_router("base", 4, 3, 1).double()
    logits = torch.randn(6, 3, dtype=torch.float64)
    places = [0, 0, 1, 1, 2, 2]
    most = max(
        sum(logits[t, e].item() for t, e in enumerate(order)) for order in set(permutations(places))
    )
    routing = router.route(logits)
    assert routing.load().tolist() == [2, 2, 2]
    assert logits.gather(1, routing.experts).sum().item() == pytest.approx(most)
    greedy = logits.argmax(-1)
    assert torch.equal(router.eval().route(logits).experts[:, 0], greedy)
    assert torch.bincount(greedy, minlength=3).tolist() != [2, 2, 2], (
        "or the assignment would have nothing to do"
    )


@pytest.mark.parametrize("name", ROUTERS)
def test_repeatable_in_eval_and_causal_ones_the_same_for_a_prefix(name):
    router = build(name)
    x, ids = inputs()
    whole, again = router(x, ids), router(x, ids)
    assert torch.equal(whole.experts, again.experts) and torch.equal(whole.weights, again.weights)
    prefix = as_dictionaries(router(x[:7], ids[:7]))
    same = all(
        a == pytest.approx(b) for a, b in zip(prefix, as_dictionaries(whole)[:7], strict=True)
    )
    assert same == router.causal == (name != "expert_choice")


@pytest.mark.parametrize("name", ROUTERS)
def test_noise_and_draws_only_in_training(name):
    router = build(name, training=True)
    x, ids = inputs()
    first, second = router(x, ids), router(x, ids)
    random = name in ("noisy_topk", "gshard")
    same = torch.equal(first.choices(), second.choices()) and torch.equal(
        first.logits, second.logits
    )
    assert same != random


def test_gshard_uses_the_second_expert_twice_as_often_as_its_weight():
    router = make_router("gshard", D, 4, 2).train()
    torch.manual_seed(0)
    logits = torch.tensor([[2.0, 1.0, -1.0, -1.0]]).repeat(20_000, 1)
    routing = router.route(logits)
    weight = float(routing.weights[0, 1])
    assert weight == pytest.approx(1 / (1 + math.e))
    assert float(routing.choices()[:, 1].float().mean()) == pytest.approx(2 * weight, abs=0.01)
    assert routing.choices()[:, 0].all() and torch.equal(routing.kept, routing.choices())


@pytest.mark.parametrize(
    "name", ["topk", "group_limited", "biased_topk", "noisy_topk", "topk_softmax", "switch"]
)
def test_minus_infinity_keeps_an_expert_out(name):
    router = build(name)
    x, _ = inputs()
    if name == "biased_topk":
        router.selection_bias[3] = 5.0
    logits = router.logits(x).index_fill(1, torch.tensor([3]), -torch.inf)
    routing = router.route(logits)
    assert not (routing.experts == 3).any() and torch.isfinite(routing.weights).all()
    assert (router(x).experts == 3).any()


def test_forbidden_groups_stay_out_when_biases_are_negative():
    """A mask of 0 would beat every negative biased score."""
    router = build("biased_topk")
    router.selection_bias.fill_(-2.0)  # every biased score is negative
    x, _ = inputs()
    groups = router(x).experts // 2
    assert max(len(set(row)) for row in groups.tolist()) == 2


def test_bias_changes_the_choice_and_never_the_weight():
    """Weights out of biased scores would let the balance cure change what the layer computes."""
    router = build("biased_topk", n_group=1, topk_group=1, norm_topk_prob=False)
    x, _ = inputs()
    before = router(x)
    router.selection_bias[5] = 10.0
    after = router(x)
    assert (after.experts == 5).any(1).all() and not (before.experts == 5).any(1).all()
    assert torch.equal(after.weights, after.scores.gather(1, after.experts))
    assert torch.equal(before.scores, after.scores)


def test_group_limit_bounds_the_devices_of_a_token():
    x, _ = inputs()
    free = build("topk")(x).experts // 2
    limited = build("group_limited")(x).experts // 2
    assert (
        max(len(set(row)) for row in limited.tolist())
        == 2
        < max(len(set(row)) for row in free.tolist())
    )


def test_scaling_factor_multiplies_the_weights():
    x, ids = inputs()
    for name in ROUTERS:
        plain, scaled = build(name)(x, ids), build(name, routed_scaling_factor=2.5)(x, ids)
        assert torch.allclose(scaled.weights, 2.5 * plain.weights), name


def test_hash_needs_ids_and_learns_nothing():
    router = build("hash")
    assert not list(router.parameters())
    with pytest.raises(ValueError, match="input_ids"):
        router(inputs()[0])
    assert all(len(set(row)) == 3 for row in router.table.tolist()), "k different experts per id"
    assert torch.equal(router.table, build("hash", seed=0).table)
    assert not torch.equal(router.table, build("hash", seed=1).table), "a seed is a table"
    counts = torch.bincount(build("hash", vocab_size=4000).table.flatten(), minlength=E)
    assert counts.max() / counts.min() < 1.15, "ids fall evenly"


def test_a_table_with_learned_weights_lists_the_heaviest_first():
    router, (x, ids) = build("gated_hash"), inputs()
    routing = router(x, ids)
    assert (routing.weights.diff(dim=1) <= 0).all()
    assert torch.equal(routing.experts.sort().values, router.table[ids].sort().values)
    assert not torch.equal(routing.experts, router.table[ids]), "they were put in order"
    (routing.weights * torch.arange(3)).sum().backward()
    assert router.weight.grad.abs().max() > 0


def test_affinities_of_v4_have_a_gradient_however_low_the_logit():
    logits = torch.tensor([[-200.0, -50.0, 0.0, 30.0, -torch.inf, 1.0]], requires_grad=True)
    scores = make_router("topk", D, 6, 2, scoring_func="sqrtsoftplus").affinities(logits)
    assert scores[0, 2].item() == pytest.approx(math.sqrt(math.log(2)))
    assert scores[0, 1].item() == pytest.approx(math.exp(-25), rel=1e-4)
    assert scores[0, 3].item() == pytest.approx(math.sqrt(30))
    scores.sum().backward()
    assert torch.isfinite(logits.grad).all() and logits.grad[0, 1] > 0


@pytest.mark.parametrize(
    ("name", "k", "options", "message"),
    [
        ("best", 2, {}, "name: got 'best'; wants one of dense"),
        ("switch", 2, {}, "num_experts_per_tok: got 2; wants 1"),
        ("gshard", 3, {}, "num_experts_per_tok: got 3; wants 2"),
        ("base", 2, {}, "num_experts_per_tok: got 2; wants 1"),
        ("dense", 2, {}, "num_experts_per_tok: got 2; wants 8 with router"),
        ("topk", 9, {}, "num_experts_per_tok: got 9; wants at most"),
        ("topk", 1, dict(norm_topk_prob=True), "norm_topk_prob: got True"),
        ("topk_softmax", 1, {}, "num_experts_per_tok: got 1; wants 2 or more"),
        ("topk", 2, dict(scoring_func="tanh"), "scoring_func: got 'tanh'"),
        ("topk", 2, dict(capacity_factor=0), "capacity_factor: got 0"),
        ("topk", 2, dict(capacity_per="device"), "n_group: got 1; wants 2 or more"),
        ("expert_choice", 2, dict(capacity_factor=1.0), "capacity_factor: got 1.0; wants None"),
        ("base", 1, dict(capacity_factor=1.0), "capacity_factor: got 1.0; wants None"),
        ("group_limited", 2, dict(n_group=3, topk_group=1), "n_group: got 3; wants a divisor"),
        (
            "group_limited",
            4,
            dict(n_group=4, topk_group=1),
            "num_experts_per_tok: got 4; wants at most 2",
        ),
        (
            "biased_topk",
            2,
            dict(n_group=8, topk_group=4),
            "n_group: got 8; wants groups of 2 or more",
        ),
    ],
)
def test_wrong_options_are_refused_by_name(name, k, options, message):
    with pytest.raises(ValueError, match=message):
        make_router(name, D, E, k, **options)
