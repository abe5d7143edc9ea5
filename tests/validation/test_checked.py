"""`checked`: what it refuses, in which words, and what it leaves as it was."""

import asyncio
import contextlib
import functools
import inspect
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from moe_lib.validation import (
    Callback,
    Choice,
    Count,
    Natural,
    PathLike,
    Share,
    Text,
    Texts,
    TokenIds,
    checked,
    unchecked,
    whole,
)

if TYPE_CHECKING:
    from decimal import Decimal


@checked
def fit(
    steps: Count,
    rate: float = float("nan"),  # a default is not checked
    *,
    shuffle: bool = False,
    kind: Literal["mean", "last"] = "mean",
    labels: Sequence[str] = (),
    off: Mapping[int, Sequence[Natural]] | None = None,
    pair: tuple[int, int] = (0, 0),
    model: nn.Module | None = None,
    late: "Late | None" = None,
    **others: Share,
) -> tuple:
    """What was given."""
    return steps, rate, shuffle, kind, labels, off, pair, model, late, others


class Late:
    """Known only after `fit` was made."""


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"steps": 2.5}, TypeError, "steps: got 2.5; wants a whole number of at least 1"),
        ({"steps": True}, TypeError, "steps: got True; wants a whole number"),
        ({"steps": 0}, ValueError, "steps: got 0; wants a whole number of at least 1"),
        ({"steps": torch.ones(2, 3)}, TypeError, "steps: got Tensor of shape (2, 3), torch.float"),
        ({"rate": "0.1"}, TypeError, "rate: got '0.1'; wants a finite number"),
        ({"rate": float("inf")}, ValueError, "rate: got inf; wants a finite number"),
        ({"rate": 10**400}, ValueError, "; wants a finite number"),
        ({"rate": False}, TypeError, "rate: got False; wants a finite number"),
        ({"shuffle": 1}, TypeError, "shuffle: got 1; wants True or False"),
        ({"kind": "sum"}, ValueError, 'kind: got \'sum\'; wants "mean" or "last"'),
        ({"kind": ["mean"]}, TypeError, "kind: got ['mean']; wants"),
        ({"labels": "abc"}, TypeError, "labels: got 'abc'; wants a list or tuple"),
        ({"labels": {"a"}}, TypeError, "labels: got {'a'}; wants a list or tuple"),
        ({"labels": ["a", "b", "c", 4]}, TypeError, "labels[3]: got 4; wants a text"),
        ({"labels": ["a", "\ud83d"]}, ValueError, "labels[1]: got '\\ud83d'; wants a text"),
        ({"off": [1]}, TypeError, "off: got [1]; wants None or a mapping"),
        ({"off": {"1": [1]}}, TypeError, "a key of off: got '1'; wants a whole number"),
        ({"off": {2: [0, -1]}}, ValueError, "off[2][1]: got -1; wants a whole number of at least"),
        ({"off": {2: "01"}}, TypeError, "off[2]: got '01'; wants a list or tuple"),
        ({"pair": (1,)}, ValueError, "pair: got (1,); wants a tuple of 2"),
        ({"pair": (1, 2.0)}, TypeError, "pair[1]: got 2.0; wants a whole number"),
        ({"model": "model"}, TypeError, "model: got 'model'; wants None or a Module"),
        ({"late": 3}, TypeError, "late: got 3; wants None or a Late"),
        ({"another": 2}, ValueError, "another: got 2; wants a finite number from 0 to 1"),
    ],
)
def test_what_is_wrong_is_named(arguments, error, words):
    with pytest.raises(error) as caught:
        fit(**{"steps": 1, **arguments})
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_positional_arguments_are_checked_as_named_ones_are():
    with pytest.raises(TypeError, match="^rate: got 'fast'"):
        fit(1, "fast")

    @checked
    def add(*numbers: Count):
        return sum(numbers)

    assert add(1, 2) == 3
    with pytest.raises(ValueError, match=r"^numbers\[1\]: got 0"):
        add(1, 0)


def test_the_function_gets_the_objects_it_was_given():
    labels, off, model, late = ["a"], {0: (1,)}, nn.Identity(), Late()
    got = fit(1, 2, labels=labels, off=off, model=model, late=late, share=1)
    assert got[4] is labels and got[5] is off and got[7] is model and got[8] is late
    assert got[9] == {"share": 1}


def test_numbers_of_other_libraries_become_pythons():
    steps, rate, *_ = fit(np.int64(3), np.float32(0.5))
    assert (type(steps), type(rate)) == (int, float)
    assert type(fit(torch.tensor(3))[0]) is int
    assert type(fit(1, 2)[1]) is int  # a whole number is a number, and stays what it is


def test_too_many_and_too_few_arguments_are_refused_by_name():
    with pytest.raises(TypeError, match="steps"):
        fit()
    with pytest.raises(TypeError, match="wrong: got 1; wants no argument by name"):
        checked(lambda: None)(wrong=1)


def test_name_text_and_signature_stay():
    def plain(steps: Count, rate: float = 0.1) -> int:
        """One sentence."""

    same = checked(plain)
    assert (same.__name__, same.__qualname__) == (plain.__name__, plain.__qualname__)
    assert (same.__doc__, same.__module__) == (plain.__doc__, plain.__module__)
    assert same.__annotations__ == plain.__annotations__
    assert inspect.signature(same) == inspect.signature(plain)
    assert same.__wrapped__ is plain
    assert pickle.loads(pickle.dumps(fit)) is fit


def test_annotations_are_read_at_the_first_call():
    @checked
    def greet(who: "Person"):  # noqa: F821 - it comes later
        return who

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "Person", str)
        assert greet("you") == "you"
        with pytest.raises(TypeError, match="^who: got 3"):
            greet(3)


def test_what_cannot_be_understood_passes_and_is_listed():
    @checked
    def pay(amount: "Decimal", note: Any, bare, steps: Count = 1):
        return amount

    assert pay("much", 1, 2) == "much"
    assert unchecked(pay) == ["amount", "note", "bare"]
    assert unchecked(fit) == []


def test_methods_classes_and_dataclasses():
    class Wheel:
        @checked
        def __init__(self, spokes: Count):
            self.spokes = spokes

        @classmethod
        @checked
        def small(cls, spokes: Count):
            return cls(spokes)

        @checked
        def turn(self, by: float):
            return by

    wheel = Wheel.small(8)
    assert wheel.turn(0.5) == 0.5
    for call in (lambda: Wheel("8"), lambda: Wheel.small("8")):
        with pytest.raises(TypeError, match="^spokes: got '8'"):
            call()
    with pytest.raises(TypeError, match="^by: got None"):
        wheel.turn(None)

    @checked
    @dataclass(frozen=True)
    class Size:
        width: Count = 1

    assert Size(3) == Size(width=3)
    with pytest.raises(ValueError, match="^width: got 0"):
        replace(Size(3), width=0)


def test_context_managers_generators_and_coroutines_are_refused_at_the_call():
    @checked
    @contextlib.contextmanager
    def within(steps: Count):
        yield steps

    @checked
    def count(steps: Count):
        yield from range(steps)

    @checked
    async def wait(steps: Count):
        return steps

    for refused in (within, count):
        with pytest.raises(ValueError, match="^steps: got 0"):
            refused(0)
    with within(2) as steps:
        assert steps == 2
    assert list(count(2)) == [0, 1]
    assert inspect.iscoroutinefunction(wait) and asyncio.run(wait(2)) == 2
    with pytest.raises(ValueError, match="^steps: got 0"):
        asyncio.run(wait(0))


def test_what_can_be_read_once_is_not_read_by_the_check():
    @checked
    def total(numbers: Iterable[Count]):
        return sum(numbers)

    assert total(n for n in (1, 2)) == 3
    assert total({1, 2}) == 3
    for wrong in ("12", 3):
        with pytest.raises(TypeError, match="^numbers: got"):
            total(wrong)
    with pytest.raises(ValueError, match=r"^numbers\[1\]: got 0"):
        total([1, 0])


def test_an_error_of_the_function_itself_is_left_alone():
    @checked
    def fail(steps: Count):
        raise ValueError("of its own")

    with pytest.raises(ValueError, match="^of its own$"):
        fail(1)


def test_unions_name_all_that_is_wanted():
    @checked
    def take(given: Texts | Annotated[int, whole(2, 8)] | PathLike | None, then: Callback = None):
        return given

    assert take(3) == 3 and take(["a"]) == ["a"] and take(Path("x")) == Path("x")
    with pytest.raises(TypeError, match="^given: got 2.5; wants None or a .* or a whole .* or"):
        take(2.5)
    with pytest.raises(ValueError, match="^given: got 9; wants a whole number from 2 to 8"):
        take(9)
    with pytest.raises(TypeError, match=r"^given\[1\]: got 3; wants a text"):
        take(["a", 3])
    with pytest.raises(TypeError, match="^then: got 3; wants a function, or None"):
        take(3, 3)


def test_anything_within_a_container_passes():
    @checked
    def take(bare: dict, table: Mapping[str, Any], rows: list[dict], pair: tuple = (), *more: Any):
        return rows

    rows = [{1: 2, "a": None}]
    assert take({1: "a"}, {"a": 3}, rows, (1, "a"), 3) is rows
    with pytest.raises(TypeError, match="^a key of table: got 3; wants a text"):
        take({}, {3: 3}, rows)
    with pytest.raises(TypeError, match=r"^rows\[1\]: got 3; wants a mapping"):
        take({}, {}, [*rows, 3])


def test_long_values_are_shortened():
    @checked
    def take(text: Text, kind: Choice("a") = "a", ids: TokenIds = (), partial: Callback = None):
        return text

    wrong = {
        "text": list(range(10_000)),
        "kind": "long " * 10_000,
        "ids": torch.zeros(1000, 1000),
        "partial": {n: "x" * 1000 for n in range(1000)},
    }
    for name, value in wrong.items():
        with pytest.raises((TypeError, ValueError)) as caught:
            take(**{"text": "", name: value})
        assert str(caught.value).startswith(name) and len(str(caught.value)) < 4000
    assert take("x", partial=functools.partial(print)) == "x"
