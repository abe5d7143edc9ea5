"""The article's three claims on masked language models: each fails its test."""

import pytest
import torch
import torch.nn.functional as F

from moe_course.article.masked_words import (
    conditional_gradients,
    swapped_labels,
    unigram_loss,
)
from moe_lib import load_checkpoint
from moe_lib.text import encode_corpus, evaluation_batches, load_corpus


@pytest.fixture(scope="module")
def gaps():
    """A trained model, its training tokens, and a batch with labels at its gaps alone."""
    model, tokenizer = load_checkpoint("mini-masked", device="cpu")
    corpus = load_corpus("python_reference")
    rows = encode_corpus(corpus["heldout"], tokenizer, 64).input_ids[:48]  # (48, 64)
    read = encode_corpus(corpus["train"], tokenizer, 64).input_ids[:2000]
    (batch,) = evaluation_batches(rows, 48, objective="masked", tokenizer=tokenizer)
    hidden = batch["input_ids"] == tokenizer.mask_token_id
    return model, read, {**batch, "labels": batch["labels"].where(hidden, -100)}


def loss(model, batch):
    with torch.no_grad():
        return model(**batch).loss.item()


def test_the_two_gradients_differ_by_those_of_the_marginals():
    theta = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = conditional_gradients(theta)
    assert len(pairs) == 16
    for pair in pairs:
        right, article = pair["given the masked word"], pair["given the word"]
        torch.testing.assert_close(right - article, pair["of the marginals"])
        assert F.cosine_similarity(right.flatten(), article.flatten(), dim=0) < 0.99
        assert ((right.abs().sum(0) > 1e-9) == F.one_hot(pair["masked"], 4).bool()).all()
        assert ((article.abs().sum(1) > 1e-9) == F.one_hot(pair["w"], 4).bool()).all()


def test_gradient_of_one_pair_is_one_hot_minus_the_conditional():
    theta = torch.tensor([[0.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    first = conditional_gradients(theta)[0]
    column = torch.tensor([1.0, 0.0]) - theta[:, 0].softmax(0)
    torch.testing.assert_close(first["given the masked word"][:, 0], column)


def test_the_sentence_is_worth_more_than_the_mask_alone(gaps):
    model, read, batch = gaps
    alone = unigram_loss(read, batch["labels"], model.config.vocab_size)
    assert loss(model, batch) < alone - 1


def test_unigram_loss_of_equal_counts_is_the_even_guess():
    ids = torch.arange(8).repeat(3)
    assert unigram_loss(ids, torch.tensor([[-100, 3], [5, -100]]), 8) == pytest.approx(2.0794, 1e-4)


def test_the_answer_is_a_token_and_not_a_place(gaps):
    model, _, batch = gaps
    swapped = {**batch, "labels": swapped_labels(batch["labels"])}
    assert torch.equal(swapped["labels"] == -100, batch["labels"] == -100)
    for one, other in zip(swapped["labels"], batch["labels"], strict=True):
        assert sorted(one.tolist()) == sorted(other.tolist())
    assert loss(model, swapped) > loss(model, batch) + 0.5
