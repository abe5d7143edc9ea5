"""One way to say that an argument is wrong: its name, what it got, what it wants."""

import math


def require(
    condition: bool, argument: str, got: object, wants: str, error: type[Exception] = ValueError
) -> None:
    """Raise `error` naming the argument, what it got and what it wants, unless `condition`
    holds."""
    if not condition:
        raise error(f"{argument}: got {got!r}; wants {wants}")


def is_number(value: object) -> bool:
    """Whether `value` is a finite int or float. True and False are none, nor are NaN and
    infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: object) -> bool:
    """Whether `value` is an int; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def require_whole(argument: str, got: object, at_least: int = 1) -> None:
    """`got` must be an int (a bool is not one) of at least `at_least`."""
    wants = f"a whole number of at least {at_least}"
    require(is_whole(got), argument, got, wants, TypeError)
    require(got >= at_least, argument, got, wants)


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
    limits = {"at least": at_least, "more than": above, "at most": at_most, "less than": below}
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


def require_shape(argument: str, got: object, shape: tuple[int, ...]) -> None:
    """`got` must be a tensor of this shape."""
    wants = f"a tensor of shape {tuple(shape)}"
    is_tensor = hasattr(got, "shape") and hasattr(got, "dim")  # this file needs no torch
    require(is_tensor, argument, type(got).__name__, wants, TypeError)
    require(tuple(got.shape) == tuple(shape), argument, tuple(got.shape), wants)


def require_bool(argument: str, got: object) -> None:
    """`got` must be True or False."""
    require(isinstance(got, bool), argument, got, "True or False", TypeError)
