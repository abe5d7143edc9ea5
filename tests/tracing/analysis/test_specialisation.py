"""Tables of choices against hand-worked numbers and loops, intervals and controls against planted
structure."""

from dataclasses import replace

import pytest
import torch

from moe_lib.tracing.analysis.specialisation import (
    bootstrap_domains,
    choice_counts,
    domain_specialisation,
    exchange_routing,
    position_groups,
    shuffle_domains,
    token_specialisation,
)
from tests.tracing.analysis.small_traces import HAND, make_trace, planted


def test_domain_table_by_hand():
    table = domain_specialisation(HAND, 1)
    assert list(table.index) == ["art", "code"]
    assert table.loc["code"].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert table.loc["art"].tolist() == pytest.approx(
        [1 / 2, 0, 1 / 2, 1]
    )  # two tokens; padding does not count
    assert table.sum(axis=1).tolist() == pytest.approx([2, 2])  # k


def test_token_table_by_hand():
    table = token_specialisation(HAND, 1, min_count=1)
    assert list(table.index) == [7, 5]  # most frequent first; the padding's id 0 is not there
    assert table.loc[7].tolist() == pytest.approx([2 / 3, 0, 0, 1 / 3])  # first choices
    assert token_specialisation(HAND, 1, rank=None, min_count=1).loc[5].tolist() == pytest.approx(
        [0.5, 0.5, 0.5, 0.5]
    )
    assert list(token_specialisation(HAND, 1, min_count=3).index) == [7]


def test_token_table_of_other_tokens_leaves_out_minus_one():
    following = torch.tensor([[7, 5, -1], [5, -1, -1]])
    table = token_specialisation(HAND, 1, following, min_count=1)
    assert table.loc[5].tolist() == pytest.approx([0.5, 0, 0, 0.5]) and table.loc[7].tolist() == [
        1,
        0,
        0,
        0,
    ]


def test_counts_against_a_loop():
    g = torch.Generator().manual_seed(0)
    experts = torch.rand(5, 9, 6, generator=g).argsort(-1)[..., :3]
    labels = torch.randint(-1, 4, (5, 9), generator=g)
    real, chosen = torch.rand(5, 9, generator=g) < 0.8, torch.rand(5, 9, 3, generator=g) < 0.7
    trace = make_trace(experts, real=real, n_experts=6, chosen=chosen)
    for rank in (None, 1, 3):
        wanted, tokens = torch.zeros(4, 6, dtype=torch.long), torch.zeros(4, dtype=torch.long)
        for text in range(5):
            for t in range(9):
                if real[text, t] and labels[text, t] >= 0:
                    tokens[labels[text, t]] += 1
                    for r in range(3):
                        if chosen[text, t, r] and rank in (None, r + 1):
                            wanted[labels[text, t], experts[text, t, r]] += 1
        counts, found = choice_counts(trace, 1, labels, rank)
        assert torch.equal(counts, wanted) and torch.equal(found, tokens)


def test_positions_count_real_tokens_on_either_side_of_the_padding():
    real = [[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0]]
    trace = make_trace(torch.zeros(3, 4, 1, dtype=torch.long), real=real)
    assert position_groups(trace, 2).tolist() == [[0, 0, 1, 1], [-1, -1, 0, 0], [0, 0, -1, -1]]


def test_interval_covers_the_planted_share_about_as_often_as_it_says():
    hits = 0
    for seed in range(60):
        low, high = bootstrap_domains(planted(16, 20, 0.6, seed), 1, draws=200, level=0.9)
        hits += bool(low.loc["a"][0] <= 0.6 <= high.loc["a"][0])
    assert 44 <= hits <= 60  # 90 % of 60 is 54; the bootstrap of 8 documents is somewhat too short


def test_interval_grows_when_tokens_of_a_document_are_copies_of_each_other():
    one = planted(40, 1, 0.6)
    copies = make_trace(one.layers[0].experts.expand(40, 30, 1), domains=one.domains)
    for name, trace in (("copies", copies), ("free", planted(40, 30, 0.6))):
        low, high = bootstrap_domains(trace, 1)
        width = float(high.loc["a"][0] - low.loc["a"][0])
        assert width > 0.3 if name == "copies" else width < 0.15


def test_texts_of_one_document_are_drawn_together_and_one_document_has_no_interval():
    trace = planted(8, 20, 0.5)
    documents = torch.tensor([4, 1, 4, 1, 4, 1, 4, 1])  # one document per domain
    low, high = bootstrap_domains(trace, 1, documents)
    assert low.isna().all(axis=None) and high.isna().all(axis=None)


def test_shuffled_domains_keep_the_texts_and_lose_the_planted_preference():
    trace = planted()
    table = domain_specialisation(trace, 1)
    assert table.loc["a"][0] > 0.7 and table.loc["b"][0] == 0
    shuffled = shuffle_domains(trace, seed=1)
    assert sorted(shuffled.domains) == sorted(trace.domains)
    table = domain_specialisation(shuffled, 1)
    assert abs(table.loc["a"][0] - table.loc["b"][0]) < 0.3


def test_shuffled_domains_keep_documents_whole():
    trace, documents = planted(12), torch.arange(12) // 4 * 2 + torch.arange(12) % 2
    shuffled = shuffle_domains(trace, documents, seed=3)
    for number in documents.unique():
        assert (
            len({d for d, own in zip(shuffled.domains, documents == number, strict=True) if own})
            == 1
        )
    with pytest.raises(ValueError, match="documents"):
        shuffle_domains(trace, torch.arange(12) // 2)


def test_exchange_keeps_what_the_token_decides_and_loses_the_rest():
    trace = planted()
    by_token = make_trace(
        trace.input_ids[..., None] % 4, ids=trace.input_ids, domains=trace.domains
    )
    assert torch.equal(
        exchange_routing(by_token, by_token.input_ids).layers[0].experts, by_token.layers[0].experts
    )
    exchanged = exchange_routing(trace, trace.input_ids)
    before, after = token_specialisation(trace, 1), token_specialisation(exchanged, 1)
    assert before.sort_index().equals(after.sort_index())  # each token keeps its experts as a whole
    table = domain_specialisation(exchanged, 1)
    assert abs(table.loc["a"][0] - table.loc["b"][0]) < 0.15  # but not which text they stood in


def test_exchange_moves_whole_tokens_in_all_layers_alike_and_leaves_padding():
    experts = torch.arange(12).view(2, 6, 1)
    trace = make_trace(
        experts,
        ids=[[1, 1, 1, 2, 3, 0], [1, 2, 1, 9, 0, 0]],
        real=[[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]],
        n_experts=12,
    )
    second = replace(trace.layers[0], index=2, weights=experts.float())
    both = replace(trace, layers=[trace.layers[0], second])
    moved = exchange_routing(both, both.input_ids, seed=2)
    now = moved.layers[0].experts
    assert torch.equal(now, moved.layers[1].experts) and torch.equal(
        now.float(), moved.layers[1].weights
    )
    for token in (1, 2):
        here = trace.real & (trace.input_ids == token)
        assert sorted(now[here].flatten().tolist()) == sorted(experts[here].flatten().tolist())
    alone = ~trace.real | (trace.input_ids > 2)
    assert torch.equal(now[alone], experts[alone])
    assert not torch.equal(now, experts)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="labels"):
        choice_counts(HAND, 1, torch.zeros(2, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="labels"):
        choice_counts(HAND, 1, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="rank"):
        choice_counts(HAND, 1, torch.zeros(2, 3, dtype=torch.long), rank=3)
    with pytest.raises(ValueError, match="trace"):
        domain_specialisation(replace(HAND, domains=None), 1)
    with pytest.raises(ValueError, match="documents"):
        bootstrap_domains(HAND, 1, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="level"):
        bootstrap_domains(HAND, 1, level=95)
    with pytest.raises(ValueError, match="index"):
        domain_specialisation(HAND, 0)
