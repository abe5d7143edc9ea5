"""Logits at the answers only: the loss, the gradients and the training of the whole model."""

import pytest
import torch

from moe_lib.tuning import Encoded, Examples, finetune, measure
from moe_lib.tuning.prompting import AnswerLoss
from tests.tuning.small import make_base


def rows(n=6):
    found = []
    for row in range(n):
        ids = [20 + row, *range(30, 32 + row)]
        found.append(
            {"input_ids": ids, "labels": [-100] * (len(ids) - 1 - row % 2) + ids[-1 - row % 2 :]}
        )
    return Encoded(found, pad_token_id=0)


@pytest.fixture
def batch():
    return next(iter(Examples(rows(), 6)))


def test_loss_and_gradients_are_those_of_the_model(batch):
    whole, short = make_base(causal=True), make_base(causal=True)
    one, two = whole(**batch), AnswerLoss(short)(**batch)
    torch.testing.assert_close(one.loss, two.loss)
    answers = batch["labels"][:, 1:] != -100
    torch.testing.assert_close(one.logits[:, :-1][answers], two.logits)
    one.loss.backward()
    two.loss.backward()
    for (name, a), b in zip(whole.named_parameters(), short.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    assert len(two.routing) == 2 and torch.equal(two.mask, batch["attention_mask"])


def test_training_and_measuring_agree_with_the_model_itself():
    whole, short = make_base(causal=True), make_base(causal=True)
    runs = [
        finetune(model, Examples(rows(), 4), steps=5, accumulation=2, learning_rate=1e-2)
        for model in (whole, AnswerLoss(short))
    ]
    assert runs[0].history["loss"].tolist() == pytest.approx(
        runs[1].history["loss"].tolist(), rel=1e-4
    )
    batches = list(Examples(rows(), 4))
    assert measure(whole, batches)["loss"] == pytest.approx(
        measure(AnswerLoss(short), batches)["loss"], rel=1e-4
    )


def test_bad_labels_and_models_are_named(batch):
    head = AnswerLoss(make_base(causal=True))
    for labels in (None, torch.full_like(batch["labels"], -100), batch["input_ids"]):
        with pytest.raises(ValueError, match="labels"):
            head(batch["input_ids"], batch["attention_mask"], labels)
    with pytest.raises(ValueError, match="masked"):
        AnswerLoss(make_base(causal=False))
    with pytest.raises(TypeError, match="base"):
        AnswerLoss(torch.nn.Linear(2, 2))
