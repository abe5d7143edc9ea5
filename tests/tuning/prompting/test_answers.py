"""Free and constrained answers, each against a loop that reads one whole sequence at a time."""

import pytest
import torch

from moe_lib.tuning.prompting import (
    RECOMMEND,
    PrefixTree,
    Translator,
    answer,
    answer_within,
    chat,
    chat_ids,
    choice_ids,
    encode_prompts,
    score_choices,
    translation_chats,
)
from tests.tuning.small import make_base

NAMES = ["Fernway 22 Daypack", "Fernway 30 Daypack", "Ostrel", "Ostrel Rolltop Commuter", "雨伞"]
CHATS = [
    chat("A bag, please.", system=RECOMMEND),
    chat("Something for the rain, no leather.", system=RECOMMEND),
]


@pytest.fixture(scope="module", params=["mha", "mla"])
def model(request, tokenizer):
    mla = dict(
        attention="mla", kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8
    )
    changes = mla if request.param == "mla" else {}
    return make_base(
        vocab_size=len(tokenizer), causal=True, max_position_embeddings=96, **changes
    ).eval()


@torch.no_grad()
def naive_scores(model, tokenizer, chats, choices):
    table = torch.zeros(len(chats), len(choices))
    for row, messages in enumerate(chats):
        for column, text in enumerate(choices):
            ids, is_answer = chat_ids(
                [*messages, {"role": "assistant", "content": text}], tokenizer
            )
            log_p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            table[row, column] = sum(log_p[i - 1, ids[i]] for i in range(len(ids)) if is_answer[i])
    return table


def test_scores_are_those_of_the_naive_loop(model, tokenizer):
    naive = naive_scores(model, tokenizer, CHATS, NAMES)
    for batch_size in (2, 64):
        scores = score_choices(model, tokenizer, CHATS, NAMES, batch_size=batch_size)
        torch.testing.assert_close(scores, naive, rtol=1e-4, atol=1e-4)
    lengths = torch.tensor([len(ids) for ids in choice_ids(NAMES, tokenizer)])
    means = score_choices(model, tokenizer, CHATS, NAMES, reduce="mean")
    torch.testing.assert_close(means, naive / lengths, rtol=1e-4, atol=1e-4)


def test_a_wide_beam_finds_all_choices_in_the_order_of_their_scores(model, tokenizer):
    order = naive_scores(model, tokenizer, CHATS, NAMES).argsort(descending=True)
    found = answer_within(model, tokenizer, CHATS, NAMES, beams=len(NAMES))
    assert found == [[NAMES[place] for place in row] for row in order.tolist()]


def test_a_narrow_beam_gives_choices_only_and_one_beam_is_greedy(model, tokenizer):
    """Greedy by hand: at each step the likeliest of the tokens that some remaining choice has
    next."""
    ids = dict(zip(NAMES, choice_ids(NAMES, tokenizer), strict=True))
    by_hand = []
    for prompt in encode_prompts(CHATS, tokenizer):
        left, written = list(NAMES), []
        while len(left) > 1 or ids[left[0]] != written:
            with torch.no_grad():
                logits = model(torch.tensor([prompt + written])).logits[0, -1]
            token = max(
                {ids[name][len(written)] for name in left}, key=lambda token: float(logits[token])
            )
            left = [name for name in left if ids[name][len(written)] == token]
            written.append(token)
        by_hand.append(left)
    assert answer_within(model, tokenizer, CHATS, NAMES, beams=1) == by_hand
    assert all(
        0 < len(found) <= 2 and set(found) <= set(NAMES)
        for found in answer_within(model, tokenizer, CHATS, NAMES, beams=2)
    )


def test_a_prefix_tree_leads_to_its_sequences_only():
    tree = PrefixTree([[5, 6, 1], [5, 7, 1], [5, 6, 8, 1]])
    assert (
        tree.allowed() == [5]
        and sorted(tree.allowed([5])) == [6, 7]
        and sorted(tree.allowed([5, 6])) == [1, 8]
    )
    assert tree.allowed([5, 7, 1]) == []
    for wrong in ([9], [5, 7, 1, 1]):
        with pytest.raises(ValueError, match="prefix"):
            tree.allowed(wrong)
    for bad in ([], [[]], [[1, 2], [1, 2]], [[1], [1, 2]]):
        with pytest.raises(ValueError, match="sequences"):
            PrefixTree(bad)


def test_free_answers_do_not_depend_on_the_batch_and_stop(model, tokenizer):
    chats = [chat("word " * n) for n in (1, 5, 2, 9, 3)]
    alone = []
    for prompt in encode_prompts(chats, tokenizer):
        ids = prompt
        with torch.no_grad():
            while len(ids) < len(prompt) + 8 and ids[-1] != tokenizer.eos_token_id:
                ids = [*ids, int(model(torch.tensor([ids])).logits[0, -1].argmax())]
        alone.append(tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True))
    for batch_size in (1, 2, 5):
        assert answer(model, tokenizer, chats, max_new_tokens=8, batch_size=batch_size) == alone


def test_a_translator_asks_for_its_language(model, tokenizer):
    pairs = [{"en": "The hotel is near.", "zh": "酒店很近。"}]
    there, back = (translation_chats(pairs, *ends)[0] for ends in (("en", "zh"), ("zh", "en")))
    assert [m["content"] for m in there] == [
        "Translate into Chinese.",
        "The hotel is near.",
        "酒店很近。",
    ]
    assert [m["content"] for m in back] == [
        "Translate into English.",
        "酒店很近。",
        "The hotel is near.",
    ]
    texts = ["The hotel is near.", "We sing."]
    said = Translator(model, tokenizer, target="zh", max_new_tokens=5)(texts)
    assert said == answer(
        model,
        tokenizer,
        [chat(t, system="Translate into Chinese.") for t in texts],
        max_new_tokens=5,
    )
    assert Translator(model, tokenizer)([]) == []


def test_bad_input_is_named(model, tokenizer):
    with pytest.raises(ValueError, match="choices"):
        score_choices(model, tokenizer, CHATS, ["a", "a"])
    with pytest.raises(ValueError, match="choices"):
        answer_within(model, tokenizer, CHATS, [])
    with pytest.raises(ValueError, match="reduce"):
        score_choices(model, tokenizer, CHATS, NAMES, reduce="max")
    with pytest.raises(ValueError, match="target"):
        Translator(model, tokenizer, target="fr")
    with pytest.raises(TypeError, match="texts"):
        Translator(model, tokenizer)("one text")
    with pytest.raises(ValueError, match="source"):
        translation_chats([{"en": "a", "zh": "b"}], "de")
