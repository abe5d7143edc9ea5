"""MultipleChoice with several right choices: the loss by hand, encoding, counting, measuring,
learning."""

import math

import pytest
import torch
import torch.nn.functional as F

from moe_lib.labels import count_examples
from moe_lib.text import load_tokenizer
from moe_lib.tuning import (
    Encoded,
    Examples,
    MultipleChoice,
    encode_choices,
    finetune,
    measure,
    predict,
)
from moe_lib.tuning.head_parts import cross_entropy_of_several
from tests.tuning.small import make_base, random_ids


def test_the_loss_by_hand():
    # p = 1/2, 1/4, 1/4 and p = 1/8, 7/8, the third not allowed
    logits = torch.tensor([[2.0, 1.0, 1.0], [1.0, 7.0, 1.0]]).log()
    logits[1, 2] = -torch.inf
    right = torch.tensor([[True, True, False], [False, True, False]])
    first, second = (math.log(2) + math.log(4)) / 2, math.log(8 / 7)
    assert cross_entropy_of_several(logits, right).item() == pytest.approx(
        (first + second) / 2, abs=1e-6
    )
    even = torch.zeros(1, 4), torch.tensor([[True, True, True, True]])
    assert cross_entropy_of_several(*even).item() == pytest.approx(
        math.log(4), abs=1e-6
    )  # the least it can be


def test_it_is_torchs_cross_entropy_with_an_even_target():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    right = torch.tensor(
        [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]]
    ).bool()
    target = right / right.sum(1, keepdim=True)
    for smoothing in (0.0, 0.2):
        ours = cross_entropy_of_several(logits, right, smoothing)
        torch.testing.assert_close(ours, F.cross_entropy(logits, target, label_smoothing=smoothing))
    (gradient,) = torch.autograd.grad(cross_entropy_of_several(logits, right), logits)
    torch.testing.assert_close(gradient, (logits.softmax(1) - target) / 5)


def test_the_head_with_one_right_choice_gives_the_same_either_way():
    head = MultipleChoice(make_base())
    ids, numbers = random_ids(3, 4, 5), torch.tensor([2, 0, 3])
    for smoothing in (0.0, 0.1):
        one = head(ids, labels=numbers, label_smoothing=smoothing)
        several = head(ids, labels=F.one_hot(numbers, 4), label_smoothing=smoothing)
        torch.testing.assert_close(one.loss, several.loss)
    assert count_examples(head, F.one_hot(numbers, 4)) == count_examples(head, numbers) == 3


def test_a_missing_choice_gets_no_gradient_and_cannot_be_right():
    head = MultipleChoice(make_base())
    ids, real = random_ids(2, 3, 5), torch.tensor([[1, 1, 1], [1, 1, 0]])
    output = head(ids, None, real, labels=torch.tensor([[1, 0, 1], [1, 1, 0]]))
    output.loss.backward()
    assert output.loss.isfinite() and all(
        p.grad.isfinite().all() for p in head.parameters() if p.grad is not None
    )
    for labels, message in (
        ([[1, 0, 1], [1, 0, 1]], "a choice that choice_mask leaves out"),
        ([[1, 0, 1], [0, 0, 0]], "a row without a right choice"),
        ([[1, 0, 2], [0, 1, 0]], "other numbers than 0 and 1"),
        ([[1, 0], [0, 1]], r"\(2, 2\)"),
    ):
        with pytest.raises(ValueError, match=f"labels: got .*{message}"):
            head(ids, None, real, labels=torch.tensor(labels))


def test_lists_of_answers_become_ones_and_short_rows_are_padded():
    tokenizer = load_tokenizer("mixture")
    prompts, choices = ["a bag", "a lamp"], [["one", "two", "three"], ["four", "five"]]
    encoded = encode_choices(prompts, choices, [[0, 2], [1]], tokenizer)
    assert Examples(encoded, 2).in_order().__next__()["labels"].tolist() == [[1, 0, 1], [0, 1, 0]]
    for answers in ([[0, 3], [1]], [[], [1]], [[0], [-1]]):
        with pytest.raises(ValueError, match=r"answers\[[01]\]: got .* wants 0 to [12]"):
            encode_choices(prompts, choices, answers, tokenizer)
    with pytest.raises(ValueError, match="answers: got 'numbers and lists'"):
        encode_choices(prompts, choices, [0, [1]], tokenizer)


def test_measuring_and_learning():
    """Texts that begin with token 21 or 22 are right, two of four in every row."""
    ids = random_ids(48, 4, 5)
    ids[..., 0] = torch.tensor([21, 30, 22, 31])[
        torch.rand(48, 4, generator=torch.Generator().manual_seed(1)).argsort(1)
    ]
    right = (ids[..., 0] < 30).int()
    rows = [{"choices": c, "labels": r} for c, r in zip(ids.tolist(), right.tolist(), strict=True)]
    rows[0] = {"choices": rows[0]["choices"][:3], "labels": [1, 0, 0]}
    encoded = Encoded(rows, 0)
    head = MultipleChoice(make_base())
    before = measure(head, Examples(encoded, 7))
    found = predict(head, Examples(encoded.select(range(1, 48)), 5))
    by_hand = found.targets.gather(1, found.predicted[:, None]).float().mean()
    assert measure(head, Examples(encoded.select(range(1, 48)), 5))["accuracy"] == pytest.approx(
        by_hand.item()
    )
    assert predict(head, Examples(encoded, 1)).targets.shape == (
        48,
        4,
    )  # rows of three choices and of four
    finetune(head, Examples(encoded, 8), epochs=6, learning_rate=1e-2)
    after = measure(head, Examples(encoded, 7))
    assert after["accuracy"] == 1 and after["loss"] < min(
        before["loss"], 0.9
    )  # never below ln 2 = 0.69 for two of four
