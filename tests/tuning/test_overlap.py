"""Shared words, the baseline that counts them, and the two options of a span head: marks, and the
question compared."""

import pytest
import torch

from moe_lib.text import load_tokenizer
from moe_lib.tuning import Examples, SpanExtractor, encode_questions, load_head, save_head
from moe_lib.tuning.overlap import overlap_answers, shared_places
from tests.tuning.small import make_base, padded, random_ids

PASSAGE = (
    "The mill burned in 1571. Its owner, Wim Tanner, walked to Ossowo and sold two goats. The "
    "goats sang."
)


def test_shared_words_are_found_by_their_stems_and_function_words_are_not():
    places = shared_places("Who was WALKING to the town, with a goat?", PASSAGE)
    assert [PASSAGE[start:end] for start, end in places] == ["walked", "goats", "goats"]
    assert shared_places("Where is the one that was in it?", PASSAGE) == []
    assert [("价格上涨"[a:b]) for a, b in shared_places("什么价格?", "价格上涨")] == ["价", "格"]


def test_the_overlap_baseline_by_hand():
    # "goats" stands twice and weighs log(3/2), "walked" and "sold" once: log 2 each. The second
    # sentence has all three. Its runs are "Its owner, Wim Tanner" (without "Its"), "to Ossowo and"
    # (Ossowo), "two": "two" is a function word.
    assert overlap_answers(["Where did he walk who sold goats?"], [PASSAGE]) == ["Ossowo"]
    assert overlap_answers(["Which year burned the mill?"], [PASSAGE]) == ["1571"]
    assert overlap_answers(["burned mill?", "why?"], ["Mill burned.", "It is."]) == [
        "Mill burned",
        "It is",
    ]
    with pytest.raises(ValueError, match="contexts: got 2; wants one per question .1."):
        overlap_answers(["a"], ["b", "c"])
    with pytest.raises(ValueError, match="contexts: got ' …'; wants a text with words"):
        overlap_answers(["a"], [" …"])


def test_marks_stand_at_every_token_of_a_shared_word_and_nowhere_else():
    tokenizer = load_tokenizer()
    question, plain = "Who was walking with goats?", None
    for marked in (False, True):
        encoded = encode_questions(
            [question],
            [PASSAGE],
            None,
            tokenizer,
            max_length=24,
            stride=4,
            mark_shared_words=marked,
        )
        assert len(encoded) > 1
        if not marked:
            plain = encoded.rows
            continue
        for row, before in zip(encoded.rows, plain, strict=True):
            assert [min(mark, 1) for mark in row["context_mask"]] == before["context_mask"]
            assert {**row, "context_mask": 0} == {**before, "context_mask": 0}
            for mark, (start, end) in zip(row["context_mask"], row["offsets"], strict=True):
                inside = any(start < b and end > a for a, b in shared_places(question, PASSAGE))
                assert (mark == 2) == (end > start and inside)


def loss_of(logits, positions):
    """Mean -log p over starts and ends, in double precision (the head's own loss is in single)."""
    return -logits.log_softmax(1).gather(1, torch.tensor(positions)[:, None]).mean().item()


@pytest.mark.parametrize("causal", [False, True])
def test_the_vector_is_added_to_the_embeddings_of_marked_tokens_and_its_gradient_is_right(causal):
    base = make_base(causal=causal).double()
    torch.manual_seed(3)
    head = SpanExtractor(base, match_vector=True).double()
    ids, labels = random_ids(2, 7), torch.tensor([[3, 4], [-1, -1]])
    mask = torch.tensor([[0, 0, 1, 2, 1, 2, 1], [0, 1, 1, 1, 2, 1, 1]])
    output = head(ids, context_mask=mask, labels=labels)
    output.loss.backward()
    with torch.no_grad():  # by hand: a copy of the vector in the embedding table's output
        hook = base.embedding.register_forward_hook(
            lambda m, i, x: x + (mask == 2)[..., None] * head.match_vector
        )
        hidden, _ = base.hidden_states(ids)
        hook.remove()
        expected = head.classifier(hidden).masked_fill((mask == 0)[..., None], -torch.inf)
        torch.testing.assert_close(output.logits[:, :-1], expected)
        gradient, step = head.match_vector.grad.clone(), 1e-5
        for place in (0, 7, 15):
            losses = []
            for sign in (1, -1):
                head.match_vector[place] += sign * step
                losses.append(loss_of(head(ids, context_mask=mask).logits, [[3, 4], [7, 7]]))
                head.match_vector[place] -= sign * step
            assert gradient[place].item() == pytest.approx(
                (losses[0] - losses[1]) / (2 * step), rel=1e-3
            )
    assert gradient.abs().sum() > 0 and not base.embedding._forward_hooks


@pytest.mark.parametrize("causal", [False, True])
def test_the_comparison_with_the_question_is_h_m_q_and_its_gradient_is_right(causal):
    base = make_base(causal=causal).double()
    head = SpanExtractor(base, compare_question=True).double()
    ids, labels = random_ids(2, 8), torch.tensor([[4, 5], [-1, -1]])
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1, 1, 0]])
    torch.manual_seed(0)
    without = SpanExtractor(base).double()
    without.load_state_dict(head.state_dict(), strict=False)
    torch.testing.assert_close(
        head(ids, context_mask=mask).logits, without(ids, context_mask=mask).logits
    )  # M is 0
    with torch.no_grad():
        head.compared.normal_()
        hidden, _ = base.hidden_states(ids)
        logits = head(ids, context_mask=mask).logits
        for row, n_question in enumerate((2, 1)):  # then the separator, then the passage
            q = hidden[row, :n_question].mean(0)
            for kind in range(2):
                for place in range(n_question + 1, 7):
                    h = hidden[row, place]
                    plain = h @ head.classifier.weight[kind] + head.classifier.bias[kind]
                    expected = plain + h @ head.compared[kind] @ q / 16**0.5
                    assert logits[row, place, kind].item() == pytest.approx(expected.item())
    head(ids, context_mask=mask, labels=labels).loss.backward()
    gradient, step = head.compared.grad.clone(), 1e-5
    with torch.no_grad():
        for place in ((0, 0, 0), (0, 3, 7), (1, 15, 2)):
            losses = []
            for sign in (1, -1):
                head.compared[place] += sign * step
                losses.append(loss_of(head(ids, context_mask=mask).logits, [[4, 5], [8, 8]]))
                head.compared[place] -= sign * step
            numeric = (losses[0] - losses[1]) / (2 * step)
            assert gradient[place].item() == pytest.approx(numeric, rel=1e-3, abs=1e-7)
    with pytest.raises(ValueError, match="context_mask: got 'a row without a question'"):
        head(ids, context_mask=torch.ones_like(mask))
    with pytest.raises(ValueError, match="context_mask: got 'a row without a question'"):
        head(ids)


def test_padding_on_either_side_does_not_change_the_comparison():
    head = SpanExtractor(make_base(), match_vector=True, compare_question=True).eval()
    with torch.no_grad():
        head.compared.normal_()
    ids, marks = random_ids(2, 7), torch.tensor([[0, 0, 1, 2, 1, 2, 0], [0, 0, 0, 1, 1, 2, 0]])
    alone = head(ids, context_mask=marks).logits
    for side in ("left", "right"):
        longer, mask = padded(ids, 3, side)
        rubbish = torch.zeros(2, 3, dtype=torch.int64)
        wide = torch.cat([rubbish, marks] if side == "left" else [marks, rubbish], 1)
        logits = head(longer, mask, context_mask=wide).logits
        logits = logits[:, 3:] if side == "left" else torch.cat([logits[:, :7], logits[:, -1:]], 1)
        torch.testing.assert_close(logits, alone)


def test_without_the_vector_or_without_marks_all_is_as_it_was():
    ids, marks = random_ids(2, 7), torch.tensor([[0, 0, 1, 2, 1, 2, 1]] * 2)
    heads = {}
    for wanted in (False, True):
        torch.manual_seed(0)
        heads[wanted] = SpanExtractor(make_base(), match_vector=wanted)
    assert not {"match_vector", "compared"} & set(heads[False].state_dict())
    assert "match_vector" in heads[True].state_dict()
    logits = heads[False](ids, context_mask=marks.clamp(max=1)).logits
    assert torch.equal(heads[False](ids, context_mask=marks).logits, logits)
    assert torch.equal(heads[True](ids, context_mask=marks.clamp(max=1)).logits, logits)
    assert not torch.allclose(heads[True](ids, context_mask=marks).logits, logits)
    with pytest.raises(ValueError, match="65 positions"):  # an error inside leaves no hook behind
        heads[True](random_ids(1, 65), context_mask=torch.full((1, 65), 2))
    assert not heads[True].base.embedding._forward_hooks


def test_a_head_with_both_options_comes_back_from_disk(tmp_path):
    head = SpanExtractor(make_base(), match_vector=True, compare_question=True).eval()
    with torch.no_grad():
        head.compared.normal_()
    save_head(head, tmp_path)
    again, _, _ = load_head(tmp_path)
    ids, marks = random_ids(2, 7), torch.tensor([[0, 0, 1, 2, 1, 2, 1]] * 2)
    assert (
        again.settings
        == head.settings
        == {"dropout": 0.0, "match_vector": True, "compare_question": True}
    )
    assert torch.equal(again(ids, context_mask=marks).logits, head(ids, context_mask=marks).logits)


def test_batches_carry_the_marks():
    encoded = encode_questions(
        ["goats?"], [PASSAGE], None, load_tokenizer(), mark_shared_words=True
    )
    assert 2 in next(iter(Examples(encoded, 1)))["context_mask"]
