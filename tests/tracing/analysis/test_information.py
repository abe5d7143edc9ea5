"""Bits against hand-worked numbers, the bias against a simulation, and the right shuffle against
the wrong one."""

import math

import pytest
import torch

from moe_lib.tracing.analysis.information import (
    miller_madow_bias,
    mutual_information,
    routing_information,
)
from tests.tracing.analysis.small_traces import make_trace, planted


def test_bits_by_hand():
    assert mutual_information(torch.tensor([[5, 0], [0, 5]])) == pytest.approx(1)
    assert mutual_information(torch.tensor([[2, 4], [3, 6]])) == pytest.approx(0, abs=1e-12)
    # p = [[1/2, 0], [1/4, 1/4]]: H(B) - H(B|A) = H(3/4) - 1/2
    entropy = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert mutual_information(torch.tensor([[2, 0], [1, 1]])) == pytest.approx(entropy - 0.5)


def test_miller_madow_is_the_mean_of_independent_samples():
    g = torch.Generator().manual_seed(0)
    n, rows, columns = 400, 4, 5
    found, guessed = [], []
    for _ in range(200):
        a, b = torch.randint(rows, (n,), generator=g), torch.randint(columns, (n,), generator=g)
        counts = torch.bincount(a * columns + b, minlength=rows * columns).view(rows, columns)
        found.append(mutual_information(counts))
        guessed.append(miller_madow_bias(counts))
    assert guessed[0] == pytest.approx((rows - 1) * (columns - 1) / (2 * n * math.log(2)))
    assert sum(found) / 200 == pytest.approx(sum(guessed) / 200, rel=0.1)


def test_planted_domain_is_found_and_bounded():
    trace = planted(share=1.0)
    labels = torch.arange(40) % 2
    found = routing_information(trace, 1, labels)
    assert found.bits == pytest.approx(1) and found.entropy == pytest.approx(1)
    assert found.p_value == pytest.approx(1 / 21) and found.most < 0.5 and found.beyond_chance > 0.8


def test_token_labels_are_exchanged_within_their_text():
    """Each text has an expert of its own and tokens of its own: within a text the token tells
    nothing more."""
    text = torch.arange(6)[:, None].expand(6, 50)
    ids = text * 2 + torch.randint(2, (6, 50), generator=torch.Generator().manual_seed(0))
    trace = make_trace(text[..., None] % 4, ids=ids)
    found = routing_information(trace, 1, ids)
    assert found.bits > 1.5 and found.beyond_chance == pytest.approx(0, abs=1e-9)
    assert found.p_value == 1


def test_differences_between_documents_are_no_finding_about_domains():
    g = torch.Generator().manual_seed(0)
    small = 0
    for _ in range(20):  # a favourite expert per document, domains at random
        favourite = torch.randint(4, (20,), generator=g)
        trace = make_trace(favourite[:, None, None].expand(20, 30, 1))
        small += (
            routing_information(trace, 1, torch.randperm(20, generator=g) % 2, shuffles=19).p_value
            <= 0.05
        )
    assert small <= 4


def test_padding_ranks_and_left_out_labels_do_not_count():
    experts = torch.tensor([[[0, 1], [1, 0], [3, 3]], [[0, 2], [1, 3], [3, 3]]])
    trace = make_trace(experts, real=[[1, 1, 0], [1, 1, 0]])
    labels = torch.tensor([[0, 1, 5], [0, 1, 7]])
    assert routing_information(trace, 1, labels, rank=1).bits == pytest.approx(1)
    assert routing_information(trace, 1, labels).bits < 1
    labels = torch.tensor([[0, -1, 5], [0, -1, 7]])
    assert routing_information(trace, 1, labels, rank=1).entropy == pytest.approx(0)


def test_bad_input_is_named():
    trace = planted(4)
    with pytest.raises(ValueError, match="counts"):
        mutual_information(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="labels"):
        routing_information(trace, 1, torch.arange(3))
    with pytest.raises(ValueError, match="documents"):
        routing_information(trace, 1, torch.arange(4), documents=torch.tensor([0, 0, 1, 1]))
