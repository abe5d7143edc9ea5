"""Wrong messages from a page and wrong attributes, for every widget: each is refused in words that
name what is wrong, and the widget is what it was. Wrong arguments: tests/wrong_input."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, explore
from moe_lib.tuning.tried_text import TriedText
from moe_lib.views.attention_view.widget import AttentionViewer
from moe_lib.views.balance_dashboard.widget import BalanceDashboard
from moe_lib.views.cache_calculator.widget import CacheCalculator
from moe_lib.views.mask_playground.widget import MaskPlayground
from moe_lib.views.parameter_explorer.widget import ParameterExplorer
from moe_lib.views.phone_book.widget import PhoneBookRace
from moe_lib.views.router_playground.widget import RouterPlayground
from moe_lib.views.token_view import TokenView
from moe_lib.views.tryout.widget import TryOut
from moe_lib.views.tuning_comparator.widget import TuningComparator
from tests.training.small import RandomBatches, make_model
from tests.views.comparisons import made_up

NAN, HUGE, HALF = float("nan"), 10**400, "half \ud83d"
TEXT = "The list is sorted in place."
BIASED = make_model(router="biased_topk").config


@pytest.fixture(scope="module")
def masked():
    torch.manual_seed(0)
    return LanguageModel(ModelConfig.preset("tiny", causal=False)).eval()


@pytest.fixture
def make(model, masked, tokenizer):
    """{name: makes the widget}."""

    def answer(text):
        if text == "break":
            raise IndexError("deep inside")
        return TriedText("yes", (("yes", 0.7), ("no", 0.3)), None, "", (), "", {})

    return {
        "explorer": lambda: explore(model, tokenizer, TEXT),
        "mask": lambda: MaskPlayground(masked, tokenizer, TEXT),
        "router": RouterPlayground,
        "parameters": ParameterExplorer,
        "phone": lambda: PhoneBookRace(lambda facts, experts, chosen, report: None),
        "cache": CacheCalculator,
        "tryout": lambda: TryOut(answer, examples=["one", "two"]),
        "comparator": lambda: TuningComparator({"intents": made_up(), "other": made_up("other")}),
        "dashboard": lambda: BalanceDashboard(BIASED, RandomBatches()),
        "tokens": lambda: TokenView(tokenizer, TEXT),
        "attention": lambda: AttentionViewer({"a": model}, tokenizer, TEXT),
    }


def shown(widget):
    """What a widget shows, without the words about the last message."""
    if hasattr(widget, "panel"):
        state = widget.panel.get_state()
        rest = [widget.text_area.value, widget.compare_area.value, widget.k, widget.off]
        return {name: state[name] for name in sorted(state) if name != "problem"}, rest
    hidden = ("problem", "asked", "status")
    return {name: value for name, value in widget.view.items() if name not in hidden}, []


NOTHING = [None, [], {}, "text", 3, {3: 4}, {"unknown": 1}]
MESSAGES = {  # widget: (wrong messages, one that is right)
    "explorer": (
        [
            {"layer": 0},
            {"toggle": 1},
            {"layer": 0, "toggle": None},
            {"layer": 0, "toggle": True},
            {"layer": 0, "toggle": 1.0},
            {"layer": 0, "toggle": "1"},
            {"layer": 0, "toggle": [1]},
            {"layer": 0, "toggle": 99},
            {"layer": 0, "toggle": -1},
            {"layer": 99, "toggle": 1},
            {"layer": HUGE, "toggle": 1},
            {"layer": 0, "toggle": 1, "more": 2},
        ],
        {"layer": 0, "toggle": 1},
    ),
    "mask": (
        [
            {"masked": None},
            {"masked": 3},
            {"masked": "012"},
            {"masked": [99]},
            {"masked": [-1]},
            {"masked": [True]},
            {"masked": [1.0]},
            {"masked": [0, None]},
            {"text": None},
            {"text": 3},
            {"text": ["a"]},
            {"text": HALF},
            {"text": "a", "masked": [0]},
        ],
        {"masked": [1]},
    ),
    "router": (
        [
            {"asked": 1},
            {"change": {"temperature": 2}},
            {"asked": None, "change": {"temperature": 2}},
            {"asked": True, "change": {"temperature": 2}},
            {"asked": 1, "change": None},
            {"asked": 1, "change": {}},
            {"asked": 1, "change": [1]},
            {"asked": 1, "change": {"labels": 5}},
            {"asked": 1, "change": {"result": None}},
            {"asked": 1, "change": {"reset": 1}},
            {"asked": 1, "change": {"method": "unknown"}},
            {"asked": 1, "change": {"method": ["topk"]}},
            {"asked": 1, "change": {"temperature": 0}},
            {"asked": 1, "change": {"temperature": NAN}},
            {"asked": 1, "change": {"temperature": True}},
            {"asked": 1, "change": {"temperature": 1e-300}},
            {"asked": 1, "change": {"temperature": HUGE}},
            {"asked": 1, "change": {"noise": -1}},
            {"asked": 1, "change": {"capacity_factor": "1"}},
            {"asked": 1, "change": {"capacity_factor": 1e300}},
            {"asked": 1, "change": {"num_experts_per_tok": 0}},
            {"asked": 1, "change": {"num_experts_per_tok": 1.5}},
            {"asked": 1, "change": {"training": 1}},
            {"asked": 1, "change": {"seed": 1.5}},
            {"asked": 1, "change": {"seed": -1}},
            {"asked": 1, "change": {"seed": 2**63}},
            {"asked": 1, "change": {"selection_bias": 3}},
            {"asked": 1, "change": {"selection_bias": [0.0]}},
            {"asked": 1, "change": {"selection_bias": [NAN] * 6}},
            {"asked": 1, "change": {"selected": 99}},
            {"asked": 1, "change": {"selected": True}},
            {"asked": 1, "change": {"tokens": [[0.0, 0.0]]}},
            {"asked": 1, "change": {"experts": [[0.0, NAN]] * 6}},
            {"asked": 1, "change": {"experts": [[0.0, 9.0]] * 6}},
            # The first fits, the second does not: neither is taken.
            {"asked": 1, "change": {"method": "switch", "temperature": -1}},
            {"asked": 1, "change": {"reset": True, "seed": -1}},
        ],
        {"asked": 2, "change": {"method": "switch"}},
    ),
    "phone": (
        [
            {"facts": None},
            {"facts": 1000},
            {"facts": "1024"},
            {"facts": 1024.0},
            {"experts": HUGE},
            {"experts": NAN},
            {"chosen": True},
            {"chosen": 0},
            {"experts": 2, "chosen": 4},
            {"act": "go"},
            {"act": None},
            {"act": "start", "facts": 1024},
        ],
        {"facts": 1024, "experts": 4, "chosen": 4},
    ),
    "parameters": (
        [
            {"set": None},
            {"set": []},
            {"set": {}},
            {"set": {"unknown": 1}},
            {"set": {"model": "unknown"}},
            {"set": {"model": 3}},
            {"set": {"precision": "fp3"}},
            {"set": {"batch_size": 0}},
            {"set": {"batch_size": True}},
            {"set": {"batch_size": 1.5}},
            {"set": {"n_routed_experts": "8"}},
            {"set": {"n_routed_experts": -8}},
            {"set": {"moe_intermediate_size": NAN}},
            {"set": {"num_experts_per_tok": HUGE}},
            {"set": {"num_experts_per_tok": 9999}},
            {"reset": False},
            {"reset": 1},
            {"reset": True, "set": {"batch_size": 1}},
        ],
        {"set": {"batch_size": 64}},
    ),
    "cache": (
        [
            {"set": None},
            {"set": "model"},
            {"set": {}},
            {"set": {"unknown": 1}},
            {"set": {"model": "unknown"}},
            {"set": {"kind": "MHQ"}},
            {"set": {"kind": 1}},
            {"set": {"precision": "int1"}},
            {"set": {"context": 0}},
            {"set": {"context": True}},
            {"set": {"memory": NAN}},
            {"set": {"memory": "80"}},
            {"set": {"head_dim": 1.5}},
            {"set": {"num_key_value_heads": 3}},
            {"set": {"batch_size": HUGE}},
            {"reset": None},
        ],
        {"set": {"batch_size": 64}},
    ),
    "tryout": (
        [
            {"example": None},
            {"example": "0"},
            {"example": True},
            {"example": 1.0},
            {"example": -1},
            {"example": 2},
            {"question": "who?"},
            {"text": None},
            {"text": 3},
            {"text": HALF},
            {"text": "x" * 5000},
            {"text": "a", "question": 3},
            {"text": "a", "example": 0},
            {"text": "break"},  # the model itself fails
        ],
        {"text": "another"},
    ),
    "comparator": (
        [
            {"task": "unknown"},
            {"task": None},
            {"task": ["intents"]},
            {"methods": 3},
            {"methods": []},
            {"methods": ["unknown"]},
            {"methods": [3]},
            {"methods": "full"},
            {"n_train": 7},
            {"n_train": True},
            {"n_train": 100.0},
            {"n_train": "100"},
            {"curve": "unknown"},
            {"curve": 1},
            {"act": "dance"},
            {"act": None},
            {"act": "run"},  # there is no function to run
            {"methods": ["head"], "n_train": 7},
            {"task": "other", "curve": "unknown"},
        ],
        {"methods": ["head"]},
    ),
    "dashboard": (
        [
            {"act": "dance"},
            {"act": None},
            {"act": ["start"]},
            {"act": "set"},
            {"act": "set", "settings": []},
            {"act": "set", "settings": None},
            {"act": "set", "settings": {}},
            {"act": "set", "settings": {"unknown": 1}},
            {"act": "set", "settings": {"kind": "bias"}},
            {"act": "set", "settings": {"cure": "prayer"}},
            {"act": "set", "settings": {"cure": 1}},
            {"act": "set", "settings": {"alpha": NAN}},
            {"act": "set", "settings": {"alpha": -1}},
            {"act": "set", "settings": {"alpha": True}},
            {"act": "set", "settings": {"speed": "fast"}},
            {"act": "set", "settings": {"scope": "world"}},
            {"act": "set", "settings": {"seed": True}},
            {"act": "set", "settings": {"seed": 1.5}},
            {"act": "set", "settings": {"seed": -1}},
            {"act": "set", "settings": {"seed": HUGE}},
            {"act": "set", "settings": {"seed": 3, "alpha": -1}},
            {"act": "show", "places": 3},
            {"act": "show", "places": []},
            {"act": "show", "places": [0]},
            {"act": "show", "places": [True]},
            {"act": "forget", "place": 0},
            {"act": "forget", "place": None},
            {"act": "forget"},
            {"settings": {"seed": 1}},
        ],
        {"act": "set", "settings": {"seed": 3, "cure": "bias"}},
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_wrong_messages_change_nothing_and_are_said(make, name):
    widget = make[name]()
    wrong, right = MESSAGES[name]
    before = shown(widget)
    for message in [*NOTHING, *wrong]:
        said = widget.receive(message)
        assert said, f"{message} was taken"
        told = "deep inside" if message == {"text": "break"} else ": got "
        assert told in said or "start:" in said, f"{message}: {said}"
        assert shown(widget) == before, message
    assert widget.receive(right) == ""
    assert shown(widget) != before


@pytest.mark.parametrize("name", MESSAGES)
def test_the_page_sees_what_was_wrong_and_then_no_longer(make, name):
    widget = make[name]()
    seen = []
    if hasattr(widget, "panel"):
        widget.panel.observe(lambda change: seen.append(change.new), "problem")
    else:
        widget.observe(lambda change: seen.append(change.new["problem"]), "view")
    widget.receive({"unknown": 1})
    assert seen[-1].startswith("message: got ['unknown']; wants")
    assert widget.receive(MESSAGES[name][1]) == "" and seen[-1] == ""


def test_a_dashboard_opened_anew_still_says_what_was_wrong(make):
    dashboard = make["dashboard"]()
    said = dashboard.receive({"act": "set", "settings": {"seed": -1}})
    assert dashboard.receive({"act": "hello"}) == "" and dashboard.view["problem"] == said != ""


@pytest.mark.parametrize(
    "traits",
    [
        {"expert": 99},
        {"expert": -2},
        {"expert": True},
        {"expert": None},
        {"expert": "1"},
        {"token": 999},
        {"token": 1.5},
        {"side": 1},
        {"side": 1, "token": 0},
        {"side": 2},
        {"rank": 0},
        {"rank": 9},
        {"layer": 7},
        {"layer": -1},
        {"token": 0, "expert": 99},
        {"payload": 3},
    ],
)
def test_traits_that_the_page_sets_are_checked(make, traits):
    explorer = make["explorer"]()
    before = shown(explorer)
    explorer.panel.set_state(traits)
    assert explorer.panel.problem != "" and shown(explorer) == before
    explorer.panel.set_state({"expert": 2, "token": 1})
    assert explorer.selected == {"token": 1, "expert": 2} and explorer.panel.problem == ""
    assert explorer.png().startswith(b"\x89PNG")


def test_a_refused_text_or_setting_in_a_control_goes_back(make):
    explorer = make["explorer"]()
    before = shown(explorer)
    explorer.text_area.value = HALF
    assert "text: got" in explorer.panel.problem and shown(explorer) == before
    explorer.compare_button.value = True
    explorer.compare_area.value = HALF
    assert "compare_text: got" in explorer.panel.problem and explorer.compare_text == ""
    explorer.text = "another"
    assert explorer.text == explorer.text_area.value == "another" and not explorer.panel.problem
    tokens = make["tokens"]()
    tokens.text_area.value = HALF
    assert "text: got" in tokens.html() + tokens._boxes.value
    tokens.text = "again"
    assert "text: got" not in tokens._boxes.value
    viewer = make["attention"]()
    viewer.text_box.value = HALF
    assert viewer.text_box.value == TEXT and "text: got" in viewer.words.value


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
