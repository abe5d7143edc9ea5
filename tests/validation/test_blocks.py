"""The building blocks: what each takes, what it refuses."""

from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moe_lib.errors import is_number, is_whole, shown
from moe_lib.validation import (
    Choice,
    Count,
    Finite,
    Flag,
    Name,
    Natural,
    NonNegative,
    PathLike,
    Positive,
    Seed,
    Share,
    Text,
    Texts,
    TokenIds,
    Tokenizer,
    checked,
    number,
    whole,
)

NAN, INF = float("nan"), float("inf")


class Three(IntEnum):
    THREE = 3


class FakeTokenizer:
    def __call__(self, text):
        return text

    decode = convert_ids_to_tokens = __call__


GOOD = {
    "Count": (Count, [1, 10**12, np.int32(2), torch.tensor(2), Three.THREE]),
    "Natural": (Natural, [0, 3]),
    "Seed": (Seed, [0, 2**63 - 1]),
    "Finite": (Finite, [-1, 0.5, np.float32(1), np.int8(1), Fraction(1, 2), 10**300]),
    "Positive": (Positive, [1e-300, 1]),
    "NonNegative": (NonNegative, [0, 0.0, 2]),
    "Share": (Share, [0, 1, 0.5]),
    "Flag": (Flag, [True, False]),
    "Text": (Text, ["", "a", "ä", "\n", "🙂"]),
    "Texts": (Texts, [[], ["a"], ("a", "b")]),
    "Name": (Name, ["a", "größe 2"]),
    "PathLike": (PathLike, ["a", Path("a"), "."]),
    "Choice": (Choice("a", "b"), ["a", "b"]),
    "TokenIds": (TokenIds, [0, [], [1, 2], (3,), {4}, np.array([5]), torch.tensor([6, 7])]),
    "Tokenizer": (Tokenizer, [FakeTokenizer()]),
}
NO_NUMBER = [None, True, "1", b"1", [], [1], {}, 1j, object, np.bool_(True), torch.tensor([1, 2])]
NO_WHOLE = [*NO_NUMBER, 1.0, 2.5, NAN, np.float64(1), torch.tensor(1.0), torch.tensor(True)]
NO_TEXT = [None, 3, b"a", ["a"], Path("a")]
WRONG_TYPE = {
    **dict.fromkeys(("Count", "Natural", "Seed"), NO_WHOLE),
    **dict.fromkeys(("Finite", "Positive", "NonNegative", "Share"), [*NO_NUMBER, Decimal(1)]),
    "Flag": [None, 0, 1, "True", np.bool_(True)],
    "Text": NO_TEXT,
    "Texts": [None, "a", b"a", 3, {"a": 1}, [None], ["a", 3], [["a"]]],
    "Name": NO_TEXT,
    "PathLike": [None, 3, b"a", ["a"], True],
    "Choice": [None, 1, ["a"], {"a": 1}],
    "TokenIds": [None, "12", b"12", 1.5, [1.0], [True], ["1"], np.ones(2), torch.ones(1, 2).long()],
    "Tokenizer": [None, "gpt2", 3, print, {}],
}
WRONG_VALUE = {
    "Count": [0, -1, -(10**30)],
    "Natural": [-1],
    "Seed": [-1, 2**63],
    "Finite": [NAN, INF, -INF, np.float32("nan"), 10**400],
    "Positive": [0, 0.0, -1, NAN, INF],
    "NonNegative": [-1e-300, NAN, INF],
    "Share": [-0.1, 1.1, NAN, INF, 10**400],
    "Flag": [],
    "Text": ["\ud83d", "a\udc00"],
    "Texts": [["a", "\ud83d"]],
    "Name": ["", " ", "a\nb", "a\0"],
    "PathLike": ["", "a\0b"],
    "Choice": ["c", "A", ""],
    "TokenIds": [-1, [-1], torch.tensor([3, -100])],
    "Tokenizer": [],
}


def taking(hint):
    def take(given):
        return given

    take.__annotations__["given"] = hint
    return checked(take)


@pytest.mark.parametrize("name", GOOD)
def test_what_fits_comes_through(name):
    hint, values = GOOD[name]
    for value in values:
        got = taking(hint)(value)
        if name == "TokenIds":
            assert got == ([value] if isinstance(value, int) else [int(one) for one in value])
        else:
            assert got == value


@pytest.mark.parametrize(
    ("table", "error"), [(WRONG_TYPE, TypeError), (WRONG_VALUE, ValueError)], ids=["type", "value"]
)
@pytest.mark.parametrize("name", GOOD)
def test_what_does_not_fit_is_named(name, table, error):
    take = taking(GOOD[name][0])
    for value in table[name]:
        with pytest.raises(error, match=r"^given(\[\d\])?: got (.|\n)*; wants ") as caught:
            take(value)
        assert type(caught.value) is error, value


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.none()))
def test_a_share_is_a_number_from_0_to_1_whatever_is_given(value):
    fits = type(value) in (int, float) and 0 <= value <= 1  # NaN is in no range
    if fits:
        assert taking(Share)(value) == value
    else:
        with pytest.raises((TypeError, ValueError), match="^given: got"):
            taking(Share)(value)


@given(st.integers(), st.integers(-3, 3), st.integers(4, 9))
def test_ranges_include_their_ends(value, low, high):
    for block in (whole(low, high), number(low, high)):
        take = taking(Annotated[int, block])
        if low <= value <= high:
            assert take(value) == value
        else:
            with pytest.raises(ValueError, match=f"from {low} to {high}"):
                take(value)


def test_is_a_number_and_is_whole():
    assert all(map(is_number, (1, -0.5, np.float32(2), np.int64(3))))
    assert not any(map(is_number, (True, NAN, INF, "1", None, 1j, 10**400)))
    assert all(map(is_whole, (1, np.int64(3), torch.tensor(4))))
    assert not any(map(is_whole, (True, 1.0, "1", None, np.ones(1, int), torch.tensor(True))))


def test_shown_is_one_short_line():
    values = [
        "x" * 10**6,
        list(range(10**5)),
        torch.zeros(99, 99),
        torch.nn.ReLU(),
        np.ones((9, 9)),
    ]
    values.append(torch.nn.Sequential(torch.nn.ReLU()))
    for value in values:
        assert len(shown(value)) <= 250 and "\n" not in shown(value)
    assert shown(torch.zeros(2, 3)) == "Tensor of shape (2, 3), torch.float32"
    assert (shown(3), shown("a"), shown(None)) == ("3", "'a'", "None")
