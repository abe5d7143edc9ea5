"""The film of the hidden plane: what it keeps, what it says, and that watching changes nothing."""

import pytest

from moe_course import pictures
from moe_course.studies import hidden_rules as study
from moe_course.studies.hidden_rules_film import RuleFilm


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would be sent: (data, more) of every display."""
    calls = []
    monkeypatch.setattr(pictures, "display", lambda data, **more: calls.append((data, more)))
    return calls


def test_kept_pictures_stay_and_those_between_make_room(shown):
    puzzle, layer = study.HiddenRules(0), study.make_layer("learned")
    film = RuleFilm(puzzle, keep=(0, 4), tokens=100)
    assert film.steps == [0, 2, 4]
    study.learn(layer, puzzle, steps=4, watch=film, watch_at=film.steps)
    words = [data["text/plain"] for data, _ in shown if "image/png" in data]
    assert ["step 0" in one for one in words] == [True] * 3
    assert ["step 2" in one for one in words] == [False, True, False]
    assert words[-1] == film.words() and "step 4" in words[-1]
    assert film.errors[4] == study.error(layer, puzzle)
    first = layer(film.tokens)[1].experts[:, 0]
    assert film.purities[4] == study.purity(film.rule, first)


def test_a_watched_training_is_the_same_training(shown):
    puzzle = study.HiddenRules(0)
    film = RuleFilm(puzzle, keep=(0, 2), tokens=50)
    plain = study.learn(study.make_layer("learned"), puzzle, steps=3)
    watched = study.learn(
        study.make_layer("learned"), puzzle, steps=3, watch=film, watch_at=film.steps
    )
    assert plain == watched and shown
