"""Task heads against the hand formulas, torch's own losses, and padding that must not count."""

import pytest
import torch
import torch.nn.functional as F

from moe_lib.labels import count_examples
from moe_lib.tuning import MultipleChoice, SequenceClassifier, SpanExtractor, TokenClassifier
from moe_lib.tuning.head_parts import POOLINGS, cross_entropy
from tests.tuning.small import make_base, padded, random_ids


def test_hidden_states_are_what_the_vocabulary_logits_are_made_of():
    for changes in (
        {},
        {"causal": True, "aux_loss_alpha": 0.1},
        {"n_routed_experts": 0, "n_shared_experts": 0},
    ):
        base = make_base(**changes)
        ids, mask = padded(random_ids(3, 7), 2, "right")
        whole = base(ids, mask)
        hidden, side = base.hidden_states(ids, mask)
        assert torch.equal(hidden @ base.head.weight.T, whole.logits)
        assert torch.equal(side.balance_loss, whole.balance_loss)
        for ours, theirs in zip(side.routing, whole.routing, strict=True):
            assert ours is theirs is None or torch.equal(ours.experts, theirs.experts)
        with pytest.raises(ValueError, match="input_ids: got '65 positions'"):
            base.hidden_states(random_ids(1, 65))


def test_gradient_of_the_head_is_softmax_minus_one_hot_times_x():
    base = make_base()
    head = SequenceClassifier(base, n_labels=3)
    ids, labels = random_ids(4, 6), torch.tensor([0, 2, 1, 2])
    output = head(ids, labels=labels)
    output.loss.backward()
    with torch.no_grad():
        x = base.hidden_states(ids)[0].mean(1)  # (4, d)
        logits = x @ head.classifier.weight.T + head.classifier.bias
        delta = (
            logits.softmax(-1) - F.one_hot(labels, 3)
        ) / 4  # dL / dlogits of a mean over 4 examples
    torch.testing.assert_close(output.logits, logits)
    torch.testing.assert_close(head.classifier.weight.grad, torch.einsum("nk,nd->kd", delta, x))
    torch.testing.assert_close(head.classifier.bias.grad, delta.sum(0))
    assert base.embedding.weight.grad.abs().sum() > 0  # and it flows on into the base


def test_gradients_of_token_and_span_heads_follow_the_same_formula():
    base, ids = make_base(), random_ids(2, 5)
    head = TokenClassifier(base, n_labels=3)
    labels = torch.tensor([[0, -100, 2, 1, -100], [1, 1, -100, -100, -100]])
    head(ids, labels=labels).loss.backward()
    with torch.no_grad():
        x = base.hidden_states(ids)[0][labels != -100]  # the 5 labelled tokens
        logits = x @ head.classifier.weight.T + head.classifier.bias
        delta = (logits.softmax(-1) - F.one_hot(labels[labels != -100], 3)) / 5
    torch.testing.assert_close(head.classifier.weight.grad, delta.T @ x)

    spans = SpanExtractor(base)
    output = spans(ids, labels=torch.tensor([[1, 3], [-1, -1]]))
    output.loss.backward()
    with torch.no_grad():
        x = base.hidden_states(ids)[0]
        right = torch.zeros_like(output.logits)  # position 5 is "no answer"
        right[0, 1, 0] = right[0, 3, 1] = right[1, 5, 0] = right[1, 5, 1] = 1
        delta = (output.logits.softmax(1) - right) / 4  # 2 examples, a start and an end each
    torch.testing.assert_close(
        spans.classifier.weight.grad, torch.einsum("nsk,nsd->kd", delta[:, :-1], x)
    )
    torch.testing.assert_close(
        spans.no_answer.weight.grad, torch.einsum("nk,nd->kd", delta[:, -1], x.mean(1))
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_counts_nowhere(pooling, causal):
    head = SequenceClassifier(make_base(causal=causal), n_labels=3, pooling=pooling)
    ids = random_ids(3, 6)
    alone = head(ids).logits
    place = {"mean": None, "first": 0, "last": 5}[pooling]
    hidden = head.base.hidden_states(ids)[0]
    torch.testing.assert_close(
        alone, head.classifier(hidden.mean(1) if place is None else hidden[:, place])
    )
    for side in ("left", "right"):
        more, mask = padded(ids, 4, side)
        torch.testing.assert_close(head(more, mask).logits, alone, atol=1e-5, rtol=1e-4)
        if (pooling, causal, side) != (
            "first",
            True,
            "right",
        ):  # where nothing before the pooled token is padding
            assert not torch.allclose(
                head(more).logits, alone, atol=1e-2
            )  # without the mask it does count


def test_rows_of_unequal_length_are_pooled_as_if_alone():
    head = SequenceClassifier(make_base(), n_labels=2)
    long, short = random_ids(1, 8), random_ids(1, 3, seed=1)
    ids = torch.cat([long, F.pad(short, (0, 5), value=9)])
    mask = torch.tensor([[1] * 8, [1] * 3 + [0] * 5])
    torch.testing.assert_close(
        head(ids, mask).logits,
        torch.cat([head(long).logits, head(short).logits]),
        atol=1e-5,
        rtol=1e-4,
    )
    with pytest.raises(ValueError, match="attention_mask: got 'a row of padding only'"):
        head(ids, torch.tensor([[1] * 8, [0] * 8]))


def test_losses_are_torchs():
    base, ids = make_base(), random_ids(4, 6)
    head = SequenceClassifier(base, n_labels=5)
    labels = torch.tensor([4, 0, 1, -100])
    for smoothing in (0.0, 0.1):
        output = head(ids, labels=labels, label_smoothing=smoothing)
        wanted = F.cross_entropy(output.logits, labels, label_smoothing=smoothing)
        torch.testing.assert_close(output.loss, wanted)
    spans = SpanExtractor(base)
    starts_ends = torch.tensor([[0, 2], [5, 5], [1, 4], [-1, -1]])
    output = spans(ids, labels=starts_ends)
    positions = starts_ends.where(starts_ends >= 0, torch.tensor(6))
    start = F.cross_entropy(output.logits[..., 0], positions[:, 0])
    end = F.cross_entropy(output.logits[..., 1], positions[:, 1])
    torch.testing.assert_close(
        output.loss, (start + end) / 2
    )  # as transformers' question-answering models


def test_label_smoothing_by_hand_and_over_the_allowed_classes_only():
    # Three classes, the last not allowed: p = (3/4, 1/4). (1 - 0.2)·(-ln 3/4) + 0.2·(-ln 3/4 - ln
    # 1/4) / 2
    logits = (
        torch.tensor([[3.0, 1.0, 1.0]])
        .log()
        .masked_fill(torch.tensor([[False, False, True]]), -torch.inf)
    )
    logits.requires_grad_()
    loss = cross_entropy(logits, torch.tensor([0]), 0.2)
    assert loss.item() == pytest.approx(0.8 * 0.287682 + 0.2 * (0.287682 + 1.386294) / 2, abs=1e-5)
    loss.backward()
    assert logits.grad.isfinite().all() and logits.grad[0, 2] == 0


def test_a_span_can_only_lie_in_the_passage():
    head = SpanExtractor(make_base())
    ids, mask = padded(random_ids(2, 6), 2, "right")
    context = torch.tensor(
        [[0, 0, 1, 1, 1, 0, 1, 1]] * 2
    )  # the last two are padding whatever this says
    logits = head(ids, mask, context).logits
    assert logits.shape == (2, 9, 2)
    allowed = [2, 3, 4, 8]
    assert logits[:, allowed].isfinite().all() and (logits.isfinite().sum(1) == 4).all()
    for bad in (
        [[3, 2], [2, 2]],
        [[1, 2], [2, 2]],
        [[2, 5], [2, 2]],
        [[2, 9], [2, 2]],
        [[-1, 2], [2, 2]],
    ):
        with pytest.raises(ValueError, match="labels: got .*wants -1, -1 or tokens of the passage"):
            head(ids, mask, context, torch.tensor(bad))


def test_multiple_choice_scores_each_text_alone_and_leaves_out_missing_ones():
    head = MultipleChoice(make_base())
    ids = random_ids(2, 3, 5)
    mask, real = torch.ones_like(ids), torch.tensor([[1, 1, 1], [1, 1, 0]])
    mask[1, 2] = 0
    output = head(ids, mask, real, labels=torch.tensor([2, 0]))
    scores = torch.stack(
        [head.classifier(head.base.hidden_states(row)[0].mean(1))[:, 0] for row in ids]
    )
    torch.testing.assert_close(output.logits[0], scores[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.logits[1, :2], scores[1, :2], atol=1e-5, rtol=1e-4)
    assert output.logits[1, 2] == -torch.inf
    wanted = (
        F.cross_entropy(scores[:1], torch.tensor([2]))
        + F.cross_entropy(scores[1:, :2], torch.tensor([0]))
    ) / 2
    torch.testing.assert_close(output.loss, wanted)
    output.loss.backward()
    assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)
    with pytest.raises(ValueError, match="labels: got 'a choice that choice_mask leaves out'"):
        head(ids, mask, real, labels=torch.tensor([0, 2]))


def test_examples_are_counted_as_the_loss_averages_them():
    base, labels = make_base(), torch.tensor([[1, -100, 2], [0, -100, -100]])
    assert count_examples(SequenceClassifier(base, 3), torch.tensor([0, -100, 2])) == 2
    assert count_examples(TokenClassifier(base, 3), labels) == count_examples(base, labels) == 3
    assert (
        count_examples(make_base(causal=True), labels) == 1
    )  # shifted: the first column is not predicted
    assert count_examples(SpanExtractor(base), torch.tensor([[1, 2], [-1, -1]])) == 2


def test_dropout_acts_in_training_only():
    head = SequenceClassifier(make_base(), 2, dropout=0.5)
    ids = random_ids(2, 5)
    torch.manual_seed(0)
    head.train()
    assert not torch.equal(head(ids).logits, head(ids).logits)
    head.eval()
    assert torch.equal(head(ids).logits, head(ids).logits)


def test_bad_input_is_named():
    base, ids = make_base(), random_ids(2, 4)
    head = SequenceClassifier(base, 3)
    for labels, message in (
        ([0, 3], "labels: got 'labels from 0 to 3'; wants -100, or from 0 to 2"),
        ([0], "labels: got .1,.; wants shape .2,."),
        ([-100, -100], "labels: got '-100 everywhere'"),
    ):
        with pytest.raises(ValueError, match=message):
            head(ids, labels=torch.tensor(labels))
    with pytest.raises(ValueError, match="pooling: got 'max'; wants one of mean, first, last"):
        SequenceClassifier(base, 2, pooling="max")
    with pytest.raises(TypeError, match="base: got 'Linear'; wants a moe_lib LanguageModel"):
        SequenceClassifier(torch.nn.Linear(2, 2), 2)
    with pytest.raises(ValueError, match="label_smoothing: got 1.0"):
        head(ids, labels=torch.tensor([0, 1]), label_smoothing=1.0)
