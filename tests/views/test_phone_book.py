"""The phone book in code: what is set, what a run tells, messages, words and the picture."""

import threading
from base64 import b64decode

import pytest
import torch
from matplotlib.colors import to_hex

from moe_lib.views.phone_book.recall import COLOURS, Recall, columns_of
from moe_lib.views.phone_book.widget import FACTS, PhoneBookRace, packed

THIRD = [fact % 3 == 0 for fact in range(1024)]
MOST = [fact % 10 != 0 for fact in range(1024)]


def two(step, steps=20, first=THIRD, second=MOST):
    return [
        Recall("dense", step, steps, first, 0.5, 1000, 1000),
        Recall("8 experts", step, steps, second, 0.4, 2000, 1010),
    ]


def made_up(facts, experts, chosen, report):
    """A run that knows a third at once, then most of it."""
    report(two(10, second=THIRD))
    report(two(20))


@pytest.fixture
def race():
    return PhoneBookRace(made_up, facts=1024, experts=8)


def test_a_run_gets_what_was_chosen_and_its_reports_are_kept():
    asked = []

    def run(facts, experts, chosen, report):
        asked.append((facts, experts, chosen))
        made_up(facts, experts, chosen, report)

    race = PhoneBookRace(run, facts=1024, experts=8)
    race.chosen = 4
    race.experts = 16
    assert race.state == "ready" and race.sides == []
    race.start()
    assert race.wait(30) and race.state == "finished" and asked == [(1024, 16, 4)]
    assert race.curves == {
        "dense": [(10, 342 / 1024), (20, 342 / 1024)],
        "8 experts": [(10, 342 / 1024), (20, 921 / 1024)],
    }
    assert "After step 20 of 20: dense: 33.4 % recalled, 342 of 1,024 facts" in race.summary
    assert "8 experts: 89.9 % recalled, 921 of 1,024 facts; 0.40 bits per parameter" in race.summary


def test_other_numbers_clear_the_page(race):
    race.start()
    race.wait(30)
    assert race.view["sides"][1]["recalled"] == 921
    race.facts = 2048
    assert race.sides == [] and race.view["sides"] == [] and race.view["facts"] == 2048
    assert "Nothing has been trained yet" in race.summary and "of width 12" in race.summary


def test_every_fact_has_its_bit_in_the_page():
    facts = torch.rand(1027).gt(0.5).tolist()
    sent = b64decode(packed(facts))
    assert len(sent) == 129
    assert [bool(sent[n >> 3] >> (n & 7) & 1) for n in range(1027)] == facts


def test_grids_are_squares_or_twice_as_wide():
    assert {facts: columns_of(facts) for facts in FACTS} == {
        1024: 32,
        2048: 64,
        4096: 64,
        8192: 128,
    }


def test_stop_ends_a_run_and_what_was_learned_stays():
    stopped = threading.Event()

    def run(facts, experts, chosen, report):
        step = 0
        while not report(two(step := step + 1, steps=10**9)):
            pass
        stopped.set()

    race = PhoneBookRace(run, facts=1024, experts=8)
    assert race.receive({"act": "start"}) == ""
    refused = race.receive({"facts": 2048})
    assert refused == "facts: a run is going on; stop it first" and race.facts == 1024
    assert "a run is going on" in race.receive({"act": "start"})
    with pytest.raises(RuntimeError, match="a run is going on"):
        race.start()
    while not race.sides:
        pass
    assert race.receive({"act": "stop"}) == ""
    assert stopped.wait(30) and race.wait(30) and race.state == "stopped"
    assert race.view["status"] == "Stopped." and not race.view["running"]
    assert len(race.view["sides"]) == 2 and race.receive({"facts": 2048}) == ""


def test_a_run_that_fails_says_so_and_the_next_may_start():
    def run(facts, experts, chosen, report):
        raise ValueError("steps: got 0; wants at least 1")

    race = PhoneBookRace(run)
    race.start()
    with pytest.raises(ValueError, match="steps: got 0"):
        race.wait(30)
    assert race.state == "failed" and "ValueError: steps: got 0" in race.view["problem"]
    assert "steps: got 0" in race.summary and race.png()
    race._run = made_up
    race.start()
    assert race.wait(30) and race.view["problem"] == ""


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"facts": 5000}, "facts: got 5000; wants one of 1024, 2048, 4096, 8192"),
        ({"facts": 2048.0}, "facts: got 2048.0; wants one of"),
        ({"facts": "2048"}, "facts: got '2048'; wants one of"),
        ({"experts": True}, "experts: got True; wants one of"),
        ({"experts": 2, "chosen": 4}, "chosen: got 4; wants at most the experts there are"),
        ({"chosen": 3}, "chosen: got 3; wants one of 1, 2, 4, 8"),
        ({"act": "pause"}, "act: got 'pause'; wants one of start, stop"),
        ({"act": "start", "facts": 1024}, "message: got"),
        ({}, "message: got"),
        ([], "message: got"),
        (None, "message: got"),
    ],
)
def test_bad_messages_change_nothing_and_are_answered(race, message, words):
    before = race.facts, race.experts, race.chosen, race.state
    assert race.receive(message).startswith(words)
    assert race.view["problem"].startswith(words)
    assert (race.facts, race.experts, race.chosen, race.state) == before
    assert race.receive({"experts": 16}) == "" and race.view["problem"] == ""


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: PhoneBookRace(3), TypeError, "run: got 'int'"),
        (lambda: PhoneBookRace(made_up, facts=100), ValueError, "facts: got 100"),
        (lambda: PhoneBookRace(made_up, experts=2, chosen=4), ValueError, "chosen: got 4"),
        (lambda: PhoneBookRace(made_up).wait(), RuntimeError, "nothing has been started"),
    ],
)
def test_wrong_input_in_code_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_the_picture_lights_the_facts_that_are_recalled(race):
    race.start()
    race.wait(30)
    *grids, chart = race.figure().axes
    for ax, side, colour in zip(grids, race.sides, COLOURS, strict=True):
        image = ax.images[0]
        assert image.get_array().reshape(-1).astype(bool).tolist() == side.known
        assert to_hex(image.get_cmap()(1.0)) == colour
        assert ax.get_title() == f"{side.name}: {100 * side.share:.1f} %"
    assert [line.get_ydata()[0] for line in chart.lines] == [0, 0]
    assert [line.get_ydata()[-1] for line in chart.lines] == [side.share for side in race.sides]
    assert len({line.get_linestyle() for line in chart.lines}) == 2  # not by colour alone
    assert [text.get_text() for text in chart.texts] == ["dense", "8 experts"]


def test_one_display_live_and_still(race):
    for _ in range(2):
        data, metadata = race._repr_mimebundle_()
        assert {"application/vnd.jupyter.widget-view+json", "image/png"} <= set(data)
        assert metadata["image/png"]["alt"] == data["text/plain"] == race.summary
        assert race.png() == race.png()
        race.start()
        race.wait(30)


def test_bits_that_are_no_number_are_said_in_words():
    def run(facts, experts, chosen, report):
        report([Recall("dense", 1, 1, THIRD, float("nan"), 10, 10)] * 2)

    race = PhoneBookRace(run, facts=1024)
    race.start()
    race.wait(30)
    assert race.view["sides"][0]["bits"] is None
    assert "no number (NaN or infinity) per parameter" in race.summary and race.png()
