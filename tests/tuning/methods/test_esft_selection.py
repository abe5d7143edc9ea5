"""The experts of a task against a loop over single tokens and a case worked by hand."""

import pytest
import torch

from moe_lib.model import Routing
from moe_lib.tuning import Encoded, Examples, MultipleChoice, SequenceClassifier
from moe_lib.tuning.methods.esft_selection import select_experts, smallest_set, token_scores
from tests.tuning.small import make_base, random_ids

V3_ROUTER = dict(
    router="biased_topk", scoring_func="sigmoid", norm_topk_prob=True, routed_scaling_factor=2.5
)


def texts(lengths=(3, 9, 4, 7, 5)):
    return Encoded([{"input_ids": random_ids(n, seed=n).tolist(), "labels": 0} for n in lengths], 0)


def by_hand(model, rows, layer, scores):
    """One text at a time, one token at a time, one expert at a time, as the equations have it."""
    k, total = model.config.num_experts_per_tok, [0.0] * model.config.n_routed_experts
    for row in rows:
        with torch.no_grad():
            routing = model(torch.tensor([row["input_ids"]])).routing[layer]
        for token in range(len(row["input_ids"])):
            for place in range(k):
                gate = float(routing.weights[token, place])
                share = gate if scores == "gate" else 1 / k
                total[int(routing.experts[token, place])] += share / len(row["input_ids"])
    return [value / sum(total) for value in total]


@pytest.mark.parametrize("scores", ["gate", "token"])
@pytest.mark.parametrize(
    "changes", [{}, V3_ROUTER, dict(first_k_dense_replace=1)], ids=["softmax", "V3", "dense first"]
)
def test_relevance_is_that_of_a_loop_over_tokens(scores, changes):
    model, encoded = make_base(**changes).eval(), texts()
    model.train()
    found = select_experts(model, Examples(encoded, 2), scores, p=0.6)
    assert model.training and found.n_texts == 5 and found.n_tokens == 28
    assert list(found.relevance) == list(range(changes.get("first_k_dense_replace", 0), 2))
    model.eval()
    for layer, share in found.relevance.items():
        wanted = by_hand(model, encoded.rows, layer, scores)
        assert share == pytest.approx(wanted, abs=1e-6)
        assert sum(share) == pytest.approx(1)
        chosen = found.experts[layer]
        assert found.coverage(layer) >= 0.6 and sum(share[e] for e in chosen[:-1]) < 0.6
        assert min(share[e] for e in chosen) >= max(
            [s for e, s in enumerate(share) if e not in chosen], default=0
        )


def test_each_text_counts_alike_and_padding_not_at_all():
    model = make_base()
    long, short = texts([20]), texts([2])
    both = Encoded(long.rows + short.rows, 0)
    one, other, mixed = (
        select_experts(model, Examples(part, 2), "token") for part in (long, short, both)
    )
    for layer in mixed.relevance:
        mean = [
            (a + b) / 2 for a, b in zip(one.relevance[layer], other.relevance[layer], strict=True)
        ]
        assert mixed.relevance[layer] == pytest.approx(mean, abs=1e-6)
        over_tokens = [
            (20 * a + 2 * b) / 22
            for a, b in zip(one.relevance[layer], other.relevance[layer], strict=True)
        ]
        assert (
            max(abs(m - t) for m, t in zip(mean, over_tokens, strict=True)) > 0.01
        )  # the other mean is another one
    again = select_experts(SequenceClassifier(model, 2), Examples(both, 1), "token")
    assert again.experts == mixed.experts


def test_a_case_worked_by_hand():
    experts = torch.tensor([[0, 2], [2, 1], [0, 1]])
    weights = torch.tensor([[0.5, 0.25], [0.5, 0.125], [0.25, 0.25]])
    kept = torch.tensor([[True, True], [True, False], [True, True]])
    routing = Routing(experts, weights, torch.zeros(3, 4), torch.zeros(3, 4), kept)
    assert token_scores(routing, "gate").tolist() == [
        [0.5, 0, 0.25, 0],
        [0, 0, 0.5, 0],
        [0.25, 0.25, 0, 0],
    ]
    assert token_scores(routing, "token").tolist() == [
        [0.5, 0, 0.5, 0],
        [0, 0, 0.5, 0],
        [0.5, 0.5, 0, 0],
    ]
    share = torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64)
    wanted = {0.1: (1,), 0.4: (1,), 0.41: (1, 2), 0.7: (1, 2), 0.9: (1, 2, 3), 1.0: (1, 2, 3, 0)}
    assert {p: smallest_set(share, p) for p in wanted} == wanted
    assert smallest_set(torch.full((4,), 0.25), 0.5) == (0, 1)  # ties: the lower number


def test_defaults_choices_and_refusals():
    model = make_base()
    assert select_experts(model, Examples(texts(), 2)).p == 0.1
    assert select_experts(model, Examples(texts(), 2), "token").p == 0.2
    rows = [
        {"choices": [random_ids(5, seed=1).tolist(), random_ids(3, seed=2).tolist()], "labels": 0},
        {"choices": [random_ids(4, seed=3).tolist()], "labels": 0},
    ]
    flat = Encoded([{"input_ids": choice} for row in rows for choice in row["choices"]], 0)
    found = select_experts(MultipleChoice(model), Examples(Encoded(rows, 0), 2))
    plain = select_experts(model, Examples(flat, 3))
    assert found.n_texts == 3 and found.n_tokens == 12
    for layer in found.relevance:
        assert found.relevance[layer] == pytest.approx(plain.relevance[layer], abs=1e-6)
    dense = make_base(n_routed_experts=0, n_shared_experts=0)
    for arguments, message in (
        ((dense, []), "model: got 'a dense model'"),
        ((model, []), "batches: got 'no text'"),
        ((model, [], "logit"), "scores: got 'logit'"),
        ((model, [], "gate", 0.0), "p: got 0.0"),
        ((model, [], "gate", 1.5), "p: got 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            select_experts(*arguments)
    with pytest.raises(TypeError, match="model: got Linear"):
        select_experts(torch.nn.Linear(2, 2), [])
