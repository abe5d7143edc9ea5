"""A stored run is taken again only while the functions that made it are the same ones, by their
code."""

import functools
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from moe_lib.tuning import Case, Encoded, SequenceClassifier, TuningTask, compare, finetune
from moe_lib.tuning.comparison.fingerprint import identity
from tests.tuning.small import make_base, random_ids

IDS = random_ids(2, 9)
ROWS = [{"input_ids": row, "labels": row[0] % 2} for row in random_ids(12, 6).tolist()]


def written(source):
    """What this source defines as f, as after a cell was run again."""
    space = {
        "__name__": "cell",
        "SequenceClassifier": SequenceClassifier,
        "finetune": finetune,
        "ids": IDS,
    }
    exec(source, space)
    return space["f"]


@pytest.fixture
def steps(tmp_path):
    """A comparison of one case that gives the number of steps it trained: 0 where the run was taken
    from the folder."""

    def run(case=None, pretraining=None, **task):
        taken = []
        heads = {"make_head": lambda base: SequenceClassifier(base, 2)}
        task = TuningTask(
            "toy", Encoded(ROWS[:8], 0), Encoded(ROWS[8:], 0), batch_size=4, **{**heads, **task}
        )
        case = Case("one", make_base, settings={"steps": 1}, **(case or {}))
        compare(
            [case],
            task,
            seeds=(0,),
            scratch=tmp_path,
            pretraining=pretraining,
            callback=taken.append,
        )
        return len(taken)

    return run


EDITS = {
    "make_head": ("def f(base): return SequenceClassifier(base, 2, dropout={})", 0.0, 0.5),
    "measure": ("def f(model, encoded): return {{'accuracy': {}}}", 0, 1),
    "prepare": (
        "def f(encoded, seed): return encoded.select(range(8)) if {} else encoded",
        True,
        1,
    ),
    "fit": ("def f(*given, **options): return finetune(*given, **options) or {}", 1, 2),
    "pretraining": (
        "def f(base): return {{'a': [{{'input_ids': ids, 'labels': ids}}] * {}}}",
        1,
        2,
    ),
}


@pytest.mark.parametrize("part", EDITS)
def test_an_edited_function_of_the_same_name_runs_again(part, steps):
    source, old, new = EDITS[part]

    def once(value):
        function = written(source.format(value))
        return steps(
            {part: function} if part in ("fit", "prepare") else None,
            **({} if part in ("fit", "prepare") else {part: function}),
        )

    assert [once(old), once(old), once(new), once(new)] == [1, 0, 1, 0]


def test_an_edited_method_runs_again(steps):
    source = (
        "class f:\n    def attach(self, model):\n        model.requires_grad_({})\n        "
        "return self"
    )
    assert [
        steps({"method": written(source.format(value))()}) for value in (False, False, True)
    ] == [1, 0, 1]


def test_code_counts_and_not_what_is_said_of_it():
    one = written("RATE = 2\ndef g(x): return x * RATE\ndef f(x): return g(x) + 1")
    same = written(
        "RATE = 2\n\n\ndef g(x):\n    # doubled\n    return x * RATE\n\ndef f(x):\n    "
        "return (g(x) + 1)"
    )
    assert identity(one) == identity(same)
    for other in (
        "RATE = 3\ndef g(x): return x * RATE\ndef f(x): return g(x) + 1",
        "RATE = 2\ndef g(x): return x / RATE\ndef f(x): return g(x) + 1",
        "RATE = 2\ndef g(x): return x * RATE\ndef f(x): return g(x) - 1",
    ):
        assert identity(one) != identity(written(other))


def test_circles_end():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n > 0 and even(n - 1)

    ring = [even]
    ring.append(ring)
    assert identity(ring) == identity(ring) != identity([even])


def test_another_process_gives_the_same_name():
    code = (
        "from moe_lib.tuning.comparison.fingerprint import identity as i; print(i([{'b', 'a'}, "
        "lambda x: x in {'c', 'd'}, i]))"
    )
    names = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in "12"
    }
    assert len(names) == 1 and len(names.pop().strip()) == 16


def test_what_a_function_closes_over_and_is_given_counts():
    def scaled(by):
        return lambda x: x * by

    class Times:
        def __init__(self, by):
            self.by = by

        def __call__(self, x):
            return x * self.by

    @dataclass(frozen=True)
    class Power:
        by: float

        def __call__(self, x):
            return x**self.by

    def given(x, by):
        return x + by

    def default(by):
        def f(x, by=by):
            return x - by

        return f

    layers = {seed: make_base(seed).head for seed in (2, 3)}
    kinds = [
        scaled,
        Times,
        lambda by: Times(by).__call__,
        Power,
        lambda by: functools.partial(given, by=by),
        default,
        lambda by: {"rates": [by, by]},
        lambda by: torch.full((3,), by),
        lambda by: lambda x: layers[by](x),
        lambda by: functools.partial(layers[by]),
    ]
    names = [identity(kind(by)) for kind in kinds for by in (2, 3)]
    assert [identity(kind(by)) for kind in kinds for by in (2, 3)] == names
    assert len(set(names)) == 2 * len(kinds)
