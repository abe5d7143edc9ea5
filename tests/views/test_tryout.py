"""The try-out box in code: what heads say against plain forward passes, abstaining, messages,
errors, picture."""

import pytest
import torch

from moe_lib.text import load_tokenizer
from moe_lib.tuning import SequenceClassifier, SpanExtractor, encode_questions, predict_answers
from moe_lib.tuning.tried_text import ClassifyText, FindAnswer, TokenRoute, TriedText
from moe_lib.views.tryout.widget import TryOut
from tests.tuning.small import make_base

LABELS = ("bad", "fine", "good")
TEXT = "Ada Lovelace wrote the first program in 1843. It computed Bernoulli numbers."
ODD = "你好，世界 🙂🙂 naïve $x$ <b> <|mask|>"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


@pytest.fixture(scope="module")
def classify(tokenizer):
    head = SequenceClassifier(
        make_base(vocab_size=len(tokenizer), max_position_embeddings=128), 3
    ).eval()
    return ClassifyText(head, tokenizer, LABELS)


@pytest.fixture(scope="module")
def find(tokenizer):
    base = make_base(vocab_size=len(tokenizer), max_position_embeddings=128)
    torch.manual_seed(1)
    return FindAnswer(
        SpanExtractor(base).eval(), tokenizer, max_length=32, stride=8, max_answer_tokens=5
    )


def lean(find, start, nowhere):
    """The head with its no-answer bias moved: answers always, or never."""
    with torch.no_grad():
        find.head.no_answer.bias.fill_(nowhere)
        find.head.classifier.bias.fill_(start)


def test_bars_are_the_probabilities_of_a_plain_forward_pass(classify, tokenizer):
    found = classify(TEXT)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        output = classify.head(torch.tensor([[*ids, tokenizer.eos_token_id]]))
    expected = dict(zip(LABELS, output.logits[0].softmax(-1).tolist(), strict=True))
    assert {name: share for name, share in found.bars} == pytest.approx(expected, rel=1e-5)
    assert (
        found.bars[0][1] == max(expected.values())
        and found.answer == found.bars[0][0]
        and found.no_answer == ""
    )
    assert "".join(route.text for route in found.routes).replace(" ", "") == TEXT.replace(" ", "")
    for place, route in enumerate(found.routes):
        for layer, routing in enumerate(output.routing):
            experts, weights = zip(*route.experts[layer], strict=True)
            assert list(experts) == routing.experts[place].tolist()
            assert list(weights) == pytest.approx(routing.weights[place].tolist(), rel=1e-4)


def test_a_classifier_abstains_below_its_bar(classify, tokenizer):
    shy = ClassifyText(classify.head, tokenizer, LABELS, abstain_below=0.99)
    found = shy(TEXT)
    assert (
        found.answer == "" and "less than the 99 % asked for: the model abstains" in found.no_answer
    )
    assert found.bars == classify(TEXT).bars
    box = TryOut(shy, text=TEXT)
    assert "abstains" in box.summary and box.view["answer"] == "" and len(box.view["bars"]) == 3


def test_long_texts_are_cut_and_say_so(classify, tokenizer):
    short = ClassifyText(classify.head, tokenizer, LABELS, max_length=9)
    found = short(TEXT)
    assert len(found.routes) == 8 and "beyond the first 8 were not read" in found.note
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = classify.head(torch.tensor([[*ids[:8], tokenizer.eos_token_id]])).logits
    assert found.bars[0][1] == pytest.approx(float(logits.softmax(-1).max()), rel=1e-5)


@pytest.mark.parametrize("nowhere", [-5.0, 5.0])
def test_answers_are_those_of_predict_answers_and_routing_is_of_their_tokens(
    find, tokenizer, nowhere
):
    lean(find, 0.0, nowhere)
    question = "Who wrote the first program?"
    found = find(TEXT, question)
    encoded = encode_questions([question], [TEXT], None, tokenizer, max_length=32, stride=8)
    expected = predict_answers(find.head, encoded, max_answer_tokens=5)[0]
    assert found.answer == expected.text and len(encoded) > 1 and "windows" in found.note
    assert sum(share for _, share in found.bars) <= 1 + 1e-6
    shares = [share for _, share in found.bars]
    assert shares == sorted(shares, reverse=True)
    if nowhere > 0:
        assert (
            found.span is None
            and found.no_answer.startswith("No answer")
            and found.bars[0][0] == "no answer"
        )
        assert "question" in found.routes_of
        assert "".join(route.text for route in found.routes).replace(" ", "") == question.replace(
            " ", ""
        )
        row = encoded.rows[0]["input_ids"]
        shown = range(len(found.routes))
    else:
        assert (
            found.span == (expected.start, expected.end)
            and TEXT[slice(*found.span)] == found.answer
        )
        assert dict(found.bars)[f"“{found.answer}”"] == pytest.approx(
            expected.probability, rel=1e-4
        )
        inside = [
            r
            for r in encoded.rows
            if any(a == found.span[0] for a, b in r["offsets"] if b > a)
            and any(b == found.span[1] for _, b in r["offsets"])
        ]
        routes = []
        for r in inside:  # windows that hold the answer: one of them speaks
            first = next(i for i, (a, b) in enumerate(r["offsets"]) if b > a and a == found.span[0])
            routes.append(routes_of(find, r["input_ids"], range(first, first + len(found.routes))))
        assert [route.experts for route in found.routes] in routes
        assert (
            found.routes[0].text == TEXT[found.span[0] : found.span[0] + len(found.routes[0].text)]
        )
        return
    windows = [routes_of(find, r["input_ids"], shown) for r in encoded.rows]
    assert len(row) <= 32 and [route.experts for route in found.routes] in windows


def routes_of(find, ids, shown):
    with torch.no_grad():
        output = find.head(torch.tensor([ids]))
    return [
        {
            layer: tuple(
                zip(
                    r.experts[t].tolist(),
                    [pytest.approx(w, rel=1e-4) for w in r.weights[t].tolist()],
                    strict=True,
                )
            )
            for layer, r in enumerate(output.routing)
        }
        for t in shown
    ]


def test_a_head_that_wants_marks_gets_them(tokenizer):
    base = make_base(vocab_size=len(tokenizer), max_position_embeddings=128)
    torch.manual_seed(1)
    find = FindAnswer(
        SpanExtractor(base, match_vector=True, compare_question=True).eval(), tokenizer
    )
    lean(find, 0.0, -9.0)
    with torch.no_grad():
        find.head.match_vector.normal_()
    question = "Who wrote the first programs?"
    shares = []
    for marked in (True, False):
        encoded = encode_questions([question], [TEXT], None, tokenizer, mark_shared_words=marked)
        shares.append(predict_answers(find.head, encoded)[0].probability)
    found = find(TEXT, question)
    assert dict(found.bars)[f"“{found.answer}”"] == pytest.approx(shares[0], rel=1e-4)
    assert shares[0] != pytest.approx(shares[1], rel=1e-2)


def test_a_threshold_makes_it_answer_less_often(find, tokenizer):
    lean(find, 0.0, -5.0)
    strict = FindAnswer(find.head, tokenizer, threshold=1000.0, max_length=32, stride=8)
    found = strict(TEXT, "Who?")
    assert found.answer == "" and "less than the threshold 1000" in found.no_answer


def test_a_dense_model_has_no_routing_to_show(tokenizer):
    base = make_base(vocab_size=len(tokenizer), n_routed_experts=0, n_shared_experts=0)
    box = TryOut(ClassifyText(SequenceClassifier(base, 3), tokenizer, LABELS), text="well done")
    assert box.view["layers"] == [] and "The model is dense" in box.summary and box.png()


def plain(text, question=None):
    routes = tuple(TokenRoute(word, {1: ((len(word) % 4, 0.7), (3, 0.3))}) for word in text.split())
    if question is None:
        return TriedText(
            "fine",
            (("fine", 0.8), ("bad", 0.2)),
            None,
            "",
            routes,
            "all tokens of the text",
            {1: 4},
        )
    return TriedText(
        text[:3],
        ((f"“{text[:3]}”", 0.8), ("no answer", 0.2)),
        (0, 3),
        "",
        routes,
        "the tokens",
        {1: 4},
    )


def test_words_and_view_say_what_the_record_says():
    box = TryOut(plain, examples=["one two", "three"])
    assert not box.asks and box.text == "one two" and box.question is None
    assert (
        "Answer: fine, with 80.0 %." in box.summary
        and "layer 1 uses 1 of 4, most often expert 3" in box.summary
    )
    assert (
        box.ask("four").answer == "fine" and "layer 1 uses 2 of 4." in box.summary
    )  # one token: no busiest
    assert (
        box.view["routes"] == [{"text": "four", "experts": [((0, 0.7), (3, 0.3))]}]
        and len(box.view["colours"]) == 4
    )
    box = TryOut(plain, examples=[("one two", "which?")])
    assert (
        box.asks
        and box.view["span"] == (0, 3)
        and "“which?” Answer: one, with 80.0 %" in box.summary
    )
    assert box.ask("six six", "and now?").answer == "six" and box.question == "and now?"
    assert box.ask("  ", "x") is None and box.ask("ten", " ") is None
    assert (
        box.result is None
        and "Type a text and a question" in box.summary
        and box.view["bars"] == []
    )


def test_messages_of_the_page():
    box = TryOut(plain, examples=[("one two", "which?"), ("ten", "why?")])
    box.receive({"example": 1})
    assert (box.text, box.question) == ("ten", "why?") and box.view["answer"] == "ten"
    box.receive({"text": "eleven", "question": "who?"})
    assert box.view["answer"] == "ele" and box.view["problem"] == ""
    box.receive({"text": "x" * 5000, "question": "who?"})
    assert (
        "text: got '5000 characters'; wants at most 4000" in box.view["problem"]
        and box.text == "eleven"
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c, f, t: TryOut(3), TypeError, "answer: got 'int'"),
        (
            lambda c, f, t: TryOut(plain, examples=["a", ("b", "c")]),
            ValueError,
            r"examples\[0\]: got 'a'",
        ),
        (
            lambda c, f, t: TryOut(c, examples=[("a", "b")]),
            ValueError,
            r"examples\[0\].*wants a text",
        ),
        (lambda c, f, t: TryOut(plain).ask(3), TypeError, "text: got 'int'"),
        (
            lambda c, f, t: ClassifyText(f.head, t, LABELS),
            TypeError,
            "of type SpanExtractor; wants",
        ),
        (
            lambda c, f, t: ClassifyText(c.head, t, ("a",)),
            ValueError,
            "label_names: got 1; wants 3",
        ),
        (
            lambda c, f, t: ClassifyText(c.head, t, LABELS, 1.5),
            ValueError,
            "abstain_below: got 1.5",
        ),
        (
            lambda c, f, t: FindAnswer(c.head, t),
            TypeError,
            "of type SequenceClassifier; wants",
        ),
    ],
)
def test_bad_input_is_named(classify, find, tokenizer, call, error, message):
    with pytest.raises(error, match=message):
        call(classify, find, tokenizer)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", [TEXT * 12, ODD, "a", ""])
def test_any_text_can_be_asked_and_drawn(classify, find, text):
    lean(find, 0.0, -5.0)
    for box in (TryOut(classify, text=text), TryOut(find, text=text, question="Was 世界 $y$?")):
        data, metadata = box._repr_mimebundle_()
        assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(data)
        assert metadata["image/png"]["alt"] == box.summary and box.png() == box.png()
        assert (box.result is None) == (text == "")
