"""What one argument may be: the building blocks of annotations, see `moe_lib.validation`."""

import math
import operator
import os
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Annotated, Any

from moe_lib.errors import is_number, is_whole


class Block:
    """What one argument may be, for `Annotated[type, Block(…)]`.

    wants    the words for it in a message
    convert  gives the value that the function gets; raises TypeError for a wrong type
    fits     False for a value of the right type that is wrong
    """

    def __init__(
        self, wants: str, convert: Callable[[Any], Any], fits: Callable[[Any], bool] | None = None
    ):
        self.wants, self.convert, self.fits = wants, convert, fits

    def __repr__(self) -> str:
        return f"Block({self.wants!r})"

    def __call__(self, value: Any) -> Any:
        from pydantic_core import PydanticCustomError

        try:
            converted = self.convert(value)
        except TypeError:
            raise PydanticCustomError("type", self.wants) from None
        if self.fits is not None and not self.fits(converted):
            raise PydanticCustomError("value", self.wants)
        return converted


def only(good: Callable[[Any], bool]) -> Callable[[Any], Any]:
    """A converter that gives back what is `good` and refuses the rest."""

    def convert(value):
        if not good(value):
            raise TypeError
        return value

    return convert


def _int(value) -> int:
    return operator.index(only(is_whole)(value))


def _float(value) -> int | float:
    if type(value) in (int, float):
        return value
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError
    return int(value) if is_whole(value) else float(value)


def range_words(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return "" if high is None else f" of at most {high}"


def whole(low: int | None = None, high: int | None = None) -> Block:
    """Whole numbers from `low` to `high`, both included."""
    least, most = -math.inf if low is None else low, math.inf if high is None else high
    return Block("a whole number" + range_words(low, high), _int, lambda n: least <= n <= most)


def number(
    low: float | None = None, high: float | None = None, above: float | None = None
) -> Block:
    """Finite numbers from `low` to `high`, both included; with `above`, larger than that."""
    least, most = -math.inf if low is None else low, math.inf if high is None else high
    words = range_words(low, high)
    if above is not None:
        least, words = math.nextafter(above, math.inf), f" above {above}{words and ',' + words}"
    return Block(f"a finite number{words}", _float, lambda x: is_number(x) and least <= x <= most)


def _is_text(value) -> bool:
    return isinstance(value, str)


def writable(text: str) -> bool:
    """Can `text` be written as UTF-8? Half a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def token_ids(value) -> list[int]:
    """Token ids as a list: from one id, a sequence of them, or a flat tensor or array of them."""
    if is_whole(value):
        return [_int(value)]
    flat = getattr(value, "ndim", 1) == 1 and not isinstance(value, (str, bytes, dict))
    entries = only(lambda ids: flat and hasattr(ids, "__len__"))(value)
    return [_int(one) for one in getattr(entries, "tolist", lambda: entries)()]


def _is_path(value) -> bool:
    return isinstance(value, (str, os.PathLike)) and isinstance(os.fspath(value), str)


Count = Annotated[int, whole(1)]
Natural = Annotated[int, whole(0)]
Seed = Annotated[int, whole(0, 2**63 - 1)]
Finite = Annotated[float, number()]
Positive = Annotated[float, number(above=0)]
NonNegative = Annotated[float, number(0)]
Share = Annotated[float, number(0, 1)]
Flag = Annotated[bool, Block("True or False", only(lambda value: isinstance(value, bool)))]
_TEXT_WANTS = "a text (str) without halves of surrogate pairs"
Text = Annotated[str, Block(_TEXT_WANTS, only(_is_text), writable)]
Texts = Sequence[Text]
Name = Annotated[
    str,
    Block(
        "a name: a text of one line that is not empty",
        only(_is_text),
        lambda name: name.strip() != "" and name.isprintable(),
    ),
]
PathLike = Annotated[
    str | os.PathLike,
    Block(
        "a path (str or Path) that is not empty",
        only(_is_path),
        lambda path: os.fspath(path) != "" and "\0" not in os.fspath(path),
    ),
]
Callback = Annotated[
    Callable | None,
    Block("a function, or None", only(lambda value: value is None or callable(value))),
]
TokenIds = Annotated[
    Sequence[int],
    Block(
        "token ids: whole numbers of at least 0, in a flat list or tensor, or a single one",
        token_ids,
        lambda ids: min(ids, default=0) >= 0,
    ),
]
Tokenizer = Annotated[
    Any,
    Block(
        "a tokenizer (transformers.PreTrainedTokenizerFast)",
        only(
            lambda value: (
                callable(value)
                and callable(getattr(value, "decode", None))
                and callable(getattr(value, "convert_ids_to_tokens", None))
            )
        ),
    ),
]


Decoder = Annotated[
    Any,
    Block(
        "a tokenizer, or another object with a method decode",
        only(
            lambda value: (
                callable(getattr(value, "decode", None))
                and not _is_text(value)
                and not isinstance(value, (bytes, bytearray))
            )
        ),
    ),
]


class _Choices:
    """`Choice("a", "b")`: one of these values, of the same type."""

    def __call__(self, *allowed):
        names = [repr(value).replace("'", '"') for value in allowed]
        types = {type(value) for value in allowed}
        return Annotated[
            Any,
            Block(
                " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names),
                only(lambda value: type(value) in types),
                lambda value: value in allowed,
            ),
        ]


Choice = _Choices()
