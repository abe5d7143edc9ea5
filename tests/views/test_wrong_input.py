"""Wrong messages from a page, for every widget: each is refused in words that name what is wrong,
and the widget is what it was. Wrong arguments: tests/wrong_input."""

import pytest

from tests.views.every_widget import HALF, HUGE, NAN, TEXT, shown

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
    assert ": got " in explorer.panel.problem and "; wants " in explorer.panel.problem
    assert shown(explorer) == before
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
