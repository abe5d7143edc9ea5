"""Wrong attributes of every widget, and attributes that it does not have: refused by name, nothing
changes."""

import pytest

from moe_lib.tuning.tried_text import TriedText
from moe_lib.views.tryout.widget import TryOut
from tests.views.every_widget import HALF, HUGE, NAN

ATTRIBUTES = [  # (widget, attribute, wrong values)
    ("explorer", "text", [None, 3, ["a"], HALF]),
    ("explorer", "compare_text", [3, ["a"], HALF]),
    ("explorer", "layer", [None, 7, -1, True, 0.0, "0"]),
    ("explorer", "max_tokens", [None, 0, -1, True, 1.5, "a", HUGE]),
    ("explorer", "rank", [None, 0, 3, True, 1.0]),
    ("explorer", "k", [0, 99, True, 1.0, "2", NAN]),
    ("mask", "text", [None, 3, HALF]),
    ("tryout", "text", [None, 3, HALF]),
    ("tryout", "question", [None, 3, "who?"]),
    ("cache", "model", [None, 3, "unknown"]),
    ("cache", "kind", [None, 3, "MHQ"]),
    ("cache", "context", [None, 0, True, "8", 2**62]),
    ("cache", "batch_size", [None, 0, 1.5, 2**62]),
    ("cache", "precision", [None, 3, "int1"]),
    ("cache", "memory", [None, 0, NAN, 2**62]),
    ("flying", "devices", [None, 3, True, 2.0, "2", 2**62]),
    ("flying", "limit", [None, 0, 3, True, 1.0, "1"]),
    ("flying", "copies", [None, 1, -1, True, 2.0]),
    ("flying", "at", [None, -1, 9, True, 1.0, NAN]),
    ("parameters", "model", [None, 3, "unknown"]),
    ("parameters", "batch_size", [None, 0, True, 2**62]),
    ("parameters", "precision", [None, 3, "fp3"]),
    ("attention", "text", [None, 3, HALF]),
    ("attention", "layer", [None, -1, 99, True, "0"]),
    ("attention", "head", [None, -1, 99, True, "0"]),
    ("router", "method", [None, 3, "unknown", ["topk"]]),
    ("router", "seed", [None, 1.5, True, -1, 2**70]),
    ("router", "selection_bias", [3, [0.0], [NAN] * 6, "123456", [True] * 6]),
    ("router", "temperature", [0, NAN, HUGE, "1", True, None]),
    ("router", "tokens", [3, [[0, 0]], None]),
    ("router", "selected", [None, 99, -1, True]),
    ("comparator", "task", [None, 3, "unknown", ["intents"]]),
    ("comparator", "methods", [3, [], None, ["unknown"], [None]]),
    ("comparator", "n_train", [None, 7, True, 100.0, NAN]),
    ("comparator", "curve", [None, "unknown", 3]),
    ("dashboard", "cure", [None, 3, "prayer", ["bias"]]),
    ("dashboard", "alpha", [None, NAN, -1, True, "1", float("inf")]),
    ("dashboard", "scope", [None, "world", 3]),
    ("dashboard", "bias_update_speed", [None, NAN, -0.1, True]),
    ("dashboard", "seed", [None, True, 1.5, -1, HUGE]),
    ("tokens", "text", [None, 3, HALF]),
    ("phone", "facts", [None, 1000, "1024", 1024.0]),
    ("phone", "experts", [None, 3, HUGE, NAN]),
    ("phone", "chosen", [None, 0, True, "2"]),
]


@pytest.mark.parametrize(("name", "attribute", "values"), ATTRIBUTES)
def test_wrong_attributes_are_named_and_change_nothing(make, name, attribute, values):
    widget = make[name]()
    before = getattr(widget, attribute)
    for value in values:
        with pytest.raises((TypeError, ValueError), match=rf"^{attribute}\S*: got .*wants"):
            setattr(widget, attribute, value)
        assert getattr(widget, attribute) == before
    if before is not None:  # a box without questions
        setattr(widget, attribute, before)


TOLD = {  # what callers only read
    "explorer": ["reading", "selected", "summary", "text_area", "panel", "select_token"],
    "mask": ["words", "predictions", "loss", "masked", "summary", "mask"],
    "router": ["result", "labels", "summary", "settings"],
    "phone": ["sides", "curves", "state", "summary", "start"],
    "parameters": ["account", "sizes", "changed", "set"],
    "cache": ["account", "sizes", "own_kind", "reset"],
    "tryout": ["result", "asks", "summary"],
    "comparator": ["run", "status", "progress", "table", "wait"],
    "dashboard": ["runs", "training", "config", "ends", "status", "start"],
    "tokens": ["tokens", "summary"],
    "attention": ["maps", "summary", "layer_slider"],
}


@pytest.mark.parametrize("name", TOLD)
def test_attributes_that_are_not_there_or_only_tell(make, name):
    widget = make[name]()
    for attribute in ["max_token", "txt", "moedl", *TOLD[name]]:
        with pytest.raises(TypeError, match=rf"^{attribute}: got .*wants an attribute that can be"):
            setattr(widget, attribute, 5)
        assert attribute not in vars(widget) or type(vars(widget)[attribute]) is not int
    widget.layout = {"width": "50%"}  # what all widgets have


def test_a_slip_of_the_pen_is_told_what_was_meant(make):
    with pytest.raises(TypeError, match="max_token: got 5; .* such as max_tokens"):
        make["explorer"]().max_token = 5


def test_the_limit_of_tokens_can_be_set(make):
    explorer = make["explorer"]()
    whole = len(explorer.reading)
    explorer.max_tokens = 3
    assert len(explorer.reading) == 3 and explorer.max_tokens == 3
    explorer.max_tokens = 512
    assert len(explorer.reading) == whole


@pytest.mark.parametrize("wrong", [None, 3, "yes", {"answer": "yes"}])
def test_an_answer_that_is_no_tried_text(make, wrong):
    with pytest.raises(TypeError, match="^answer: got .*wants a function that gives a TriedText"):
        TryOut(lambda text: wrong, examples=["one"])
    right = TriedText("yes", (("yes", 1.0),), None, "", (), "", {})
    box = TryOut(lambda text: right if text == "one" else wrong, examples=["one", "two"])
    assert "answer: got" in box.receive({"text": "two"}) and box.text == "one"


def test_a_question_to_a_box_without_questions(make):
    box = make["tryout"]()
    with pytest.raises(ValueError, match=r"^question: got 'who\?'; wants None"):
        box.ask("a text", "who?")


def test_messages_name_what_the_page_sent(make):
    assert make["mask"]().receive({"masked": [99]}).startswith("masked: got [99]")
    said = make["router"]().receive({"asked": 1, "change": {"tokens": [[0.0, 9.0]] * 16}})
    assert said.startswith("tokens: got") and len(said) < 400
    with pytest.raises(ValueError, match="^x: got 9.0; wants a finite number"):
        make["router"]().move_token(0, 9.0, 0.0)


@pytest.mark.parametrize("experts", [None, 3, "12", [True], [1.0], [None], [-1], [99], range(8)])
def test_experts_to_switch_off_are_checked(make, experts):
    explorer = make["explorer"]()
    with pytest.raises((TypeError, ValueError), match=": got .*wants"):
        explorer.switch_off(experts)
    assert explorer.off == {}
