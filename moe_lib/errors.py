"""One way to say that an argument is wrong: its name, what it got, what it wants."""

import math
from collections.abc import Iterable


def require(
    condition: bool, argument: str, got: object, wants: str, error: type[Exception] = ValueError
) -> None:
    """Raise `error` naming the argument, what it got and what it wants, unless `condition`
    holds."""
    if not condition:
        raise error(f"{argument}: got {got!r}; wants {wants}")


def require_whole(argument: str, got: object, at_least: int = 1) -> None:
    """`got` must be an int (a bool is not one) of at least `at_least`."""
    whole = isinstance(got, int) and not isinstance(got, bool)
    require(whole, argument, got, f"a whole number of at least {at_least}", TypeError)
    require(got >= at_least, argument, got, f"a whole number of at least {at_least}")


def require_one_of(argument: str, got: object, names: Iterable[str]) -> None:
    """`got` must be one of these names."""
    known = list(names)
    require(got in known, argument, got, f"one of {', '.join(known)}")


def require_bool(argument: str, got: object) -> None:
    """`got` must be True or False; 1 and 0 are neither."""
    require(isinstance(got, bool), argument, got, "True or False", TypeError)


def require_number(argument: str, got: object, at_least: float | None = None) -> None:
    """`got` must be a finite int or float (a bool is neither), not below `at_least`."""
    wants = "a number" if at_least is None else f"a number, {at_least:g} or more"
    require(is_number(got), argument, got, wants, TypeError)
    require(at_least is None or got >= at_least, argument, got, wants.removeprefix("a number, "))


def is_number(value: object) -> bool:
    """A finite int or float; a bool is neither."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
