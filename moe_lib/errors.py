"""One way to say that an argument is wrong: its name, what it got, what it wants."""


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
