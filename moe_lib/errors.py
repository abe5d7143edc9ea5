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


def require_texts(argument: str, got: object) -> None:
    """`got` must be a sequence of texts that UTF-8 can hold: not one text, nor half a surrogate
    pair in any."""
    a_list = hasattr(got, "__getitem__") and hasattr(got, "__len__") and not isinstance(got, str)
    require(a_list, argument, got, "a list of texts", TypeError)
    for place, text in enumerate(got):
        require(isinstance(text, str), f"{argument}[{place}]", text, "a text", TypeError)
        require_unicode(f"{argument}[{place}]", text)


def require_unicode(argument: str, text: str) -> None:
    """`text` must hold no half of a surrogate pair: UTF-8 cannot write it, nor a tokenizer read
    it."""
    half = not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)
    require(not half, argument, text[:40], "valid Unicode, without half a surrogate pair")
