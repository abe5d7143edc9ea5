"""One way to say that an argument is wrong: its name, what it got, what it wants."""

import inspect
import math
import numbers
import reprlib
from collections.abc import Iterable, Mapping

LONGEST = 200  # characters of a value in a message


def require(
    condition: bool, argument: str, got: object, wants: str, error: type[Exception] = ValueError
) -> None:
    """Raise `error` naming the argument, what it got and what it wants, unless `condition`
    holds."""
    if not condition:
        raise error(refusal(argument, got, wants))


def refusal(argument: str, got: object, wants: str) -> str:
    """What every refusal says, in one line: names and values are cut where they are long."""
    return f"{_cut(argument)}: got {shown(got)}; wants {_cut(wants, 5 * LONGEST)}"


def require_whole(
    argument: str, got: object, at_least: int = 1, at_most: int | None = None
) -> None:
    """`got` must be an int (a bool is not one) of at least `at_least` and of at most `at_most`."""
    upper = "" if at_most is None else f" and at most {at_most}"
    wants = f"a whole number of at least {at_least}{upper}"
    require(is_whole(got), argument, got, wants, TypeError)
    require(at_least <= got and (at_most is None or got <= at_most), argument, got, wants)


def require_divisor(argument: str, got: object, number: int, of: str) -> None:
    """`got` must be a whole number that divides `number`, which is `of` in words."""
    require_whole(argument, got)
    require(number % got == 0, argument, got, f"a divisor of {of} ({number})")


def require_number(
    argument: str,
    got: object,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    """`got` must be a finite int or float (a bool is not one) within the limits that are given."""
    limits = {"of at least": at_least, "above": above, "of at most": at_most, "below": below}
    said = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if limit is not None)
    wants = f"a finite number {said}".strip()
    number = isinstance(got, int | float) and not isinstance(got, bool)
    require(number, argument, got, wants, TypeError)
    fits = (
        is_number(got)
        and (at_least is None or got >= at_least)
        and (above is None or got > above)
        and (at_most is None or got <= at_most)
        and (below is None or got < below)
    )
    require(fits, argument, got, wants)


def require_bool(argument: str, got: object) -> None:
    """`got` must be True or False; 1 and 0 are neither."""
    require(isinstance(got, bool), argument, got, "True or False", TypeError)


def require_one_of(argument: str, got: object, names: Iterable[str]) -> None:
    """`got` must be one of these names."""
    require(got in (known := tuple(names)), argument, got, f"one of {', '.join(known)}")


def require_takes(argument: str, function: object, *what: str) -> None:
    """`function`, or None, must be callable with so many arguments, which are `what`: seen before
    the work that it is called in has begun. What has no signature is believed."""
    wants = f"a function of {', '.join(what) or 'no arguments'}"
    require(function is None or callable(function), argument, function, wants, TypeError)
    try:
        signature = None if function is None else inspect.signature(function)
    except (ValueError, TypeError):  # some that are written in C
        return
    if signature is not None:
        try:
            signature.bind(*what)
        except TypeError:
            said = f"a function of {signature}"
            raise TypeError(refusal(argument, _Said(said), wants)) from None


def require_texts(argument: str, got: object) -> None:
    """`got` must be a sequence of texts that UTF-8 can hold: not one text, nor half a surrogate
    pair in any."""
    a_list = hasattr(got, "__getitem__") and hasattr(got, "__len__")
    a_list = a_list and not isinstance(got, str | bytes | Mapping)
    require(a_list, argument, got, "a list of texts", TypeError)
    for place, text in enumerate(got):
        require(isinstance(text, str), f"{argument}[{place}]", text, "a text", TypeError)
        require_unicode(f"{argument}[{place}]", text)


def require_unicode(argument: str, text: str) -> None:
    """`text` must hold no half of a surrogate pair: UTF-8 cannot write it, nor a tokenizer read
    it."""
    half = not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)
    require(not half, argument, text[:40], "valid Unicode, without half a surrogate pair")


def is_number(value: object) -> bool:
    """Is `value` a real number: Python's or numpy's, no bool, no NaN, not infinite?"""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond every float
        return False


def is_whole(value: object) -> bool:
    """Is `value` a whole number: an int or another library's? A bool and 2.0 are not."""
    if type(value) is int:
        return True
    single = getattr(value, "ndim", 0) == 0 and "bool" not in str(getattr(value, "dtype", ""))
    if isinstance(value, bool) or not hasattr(value, "__index__") or not single:
        return False
    try:
        value.__index__()
    except TypeError:  # a tensor or array of floats has the method and refuses
        return False
    return True


def shown(value: object) -> str:
    """`value` for a message: its repr where that is one short line, else what fits of it, or the
    kind of thing it is."""
    return _cut(_SHORT.repr(value))


def _cut(text: str, longest: int = LONGEST) -> str:
    text = " ".join(text.split("\n"))
    return text if len(text) <= longest else text[: longest - 1] + "…"


class _Said(str):
    """What a message says of a value, without quotation marks."""

    def __repr__(self):
        return str(self)


class _Short(reprlib.Repr):
    """Long texts are cut, long lists end in "…", and tensors, models and tables say what they
    are."""

    def __init__(self):
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = LONGEST
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 12
        self.fillvalue = "…"

    def repr_instance(self, value: object, level: int) -> str:
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if isinstance(shape, tuple) and dtype is not None and shape != ():
            return f"{type(value).__name__} of shape {tuple(shape)}, {dtype}"
        text = super().repr_instance(value, level)
        return f"an object of type {type(value).__name__}" if "\n" in text else text


_SHORT = _Short()
