"""What a page may say to its widget: each message is checked against a declared form, in one place.

    class Counter(MessageWidget, anywidget.AnyWidget):
        FORMS = (
            Form("_add", needs={"add": whole(1)}),
            Form("_reset", needs={"reset": one_of(True)}),
        )
        KEPT = ("total",)

A form names the method that takes a message, and for each field the check that its value must pass.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import ClassVar

from moe_lib.errors import is_whole, require, require_bool, require_number, require_unicode
from moe_lib.views.kit.attributes import KnownAttributes

Check = Callable[[str, object], None]  # (name, value): raises TypeError or ValueError by that name

LARGEST = 2**63 - 1  # of whole numbers: torch, pandas and slices know no larger ones


@dataclass(frozen=True)
class Form:
    """One kind of message: it has all fields of `needs`, can have those of `may`, and no others."""

    take: str  # the widget's method that is called with the fields
    needs: Mapping[str, Check] = field(default_factory=dict)
    may: Mapping[str, Check] = field(default_factory=dict)

    def fits(self, names: set[str]) -> bool:
        """Whether a message with fields of these names is of this kind."""
        return bool(names) and set(self.needs) <= names <= set(self.needs) | set(self.may)

    def __str__(self) -> str:
        return f"{{{', '.join([*self.needs, *(f'{name}?' for name in self.may)])}}}"


class MessageWidget(KnownAttributes):
    """Mixin, placed first among the bases: takes messages from the page, and from tests.

    FORMS  the kinds of messages
    KEPT   attributes that a message may change; after a refused message they are what they were

    A widget shows `_problem` with all else that it shows in `_publish()`.
    """

    FORMS: ClassVar[tuple[Form, ...]] = ()
    KEPT: ClassVar[tuple[str, ...]] = ()
    _problem = ""  # what was wrong with the last message; "" if nothing was

    def __init__(self, *arguments, **traits):
        super().__init__(*arguments, **traits)
        self.on_msg(lambda widget, content, buffers: self.receive(content))
        self._made = True

    def receive(self, message: object) -> str:
        """Take a message as the page sends it -> what was wrong with it, "" if it was taken.

        Never raises, for a page has nobody to raise to: a message that fits no form, or that the
        widget cannot follow, changes nothing, and the page shows the sentence.
        """
        before = {name: _copied(getattr(self, name)) for name in self.KEPT}
        self._problem = ""
        try:
            form = _form_of(message, self.FORMS)
            getattr(self, form.take)(**message)
        except Exception as error:
            for name, value in before.items():
                setattr(self, name, value)
            self._problem = said(error)
        problem = self._problem
        self._publish()
        return problem

    def _publish(self) -> None:
        """Show what is true now. A problem is shown once: the next change does not repeat it."""
        self.view = self._view()
        self._problem = ""


def _copied(value: object) -> object:
    return copy(value) if isinstance(value, list | dict | set) else value


def _form_of(message: object, forms: tuple[Form, ...]) -> Form:
    """The form that a message fits, all its fields checked."""
    wants = f"a dict with the fields {' or '.join(map(str, forms))}"
    named = isinstance(message, dict) and all(isinstance(name, str) for name in message)
    require(named, "message", message, wants, TypeError)
    form = next((one for one in forms if one.fits(set(message))), None)
    require(form is not None, "message", sorted(message), wants)
    for name, value in message.items():
        ({**form.needs, **form.may})[name](name, value)
    return form


def said(error: Exception) -> str:
    """A refusal speaks for itself; any other error is named."""
    known = isinstance(error, ValueError | TypeError | RuntimeError) and ":" in str(error)
    return str(error) if known else f"{type(error).__name__}: {error}"


# Checks of single values, by the wording of moe_lib/errors.py


def whole(at_least: int = 0) -> Check:
    """An int, no bool."""

    def check(name: str, value: object) -> None:
        wants = f"a whole number of at least {at_least}"
        require(is_whole(value), name, value, wants, TypeError)
        require(at_least <= value <= LARGEST, name, value, wants)

    return check


def number(name: str, value: object) -> None:
    """A finite int or float, no bool."""
    require_number(name, value)


def text(name: str, value: object) -> None:
    """A str that is valid Unicode: half a surrogate pair cannot be written, nor tokenized."""
    require(isinstance(value, str), name, type(value).__name__, "a str", TypeError)
    require_unicode(name, value)


def flag(name: str, value: object) -> None:
    """True or False."""
    require_bool(name, value)


def one_of(*choices: object) -> Check:
    """One of a few values, of their own type."""

    def check(name: str, value: object) -> None:
        known = any(type(value) is type(choice) and value == choice for choice in choices)
        require(known, name, value, f"one of {', '.join(map(str, choices))}")

    return check


def optional(inner: Check) -> Check:
    """None, or what `inner` takes."""

    def check(name: str, value: object) -> None:
        if value is not None:
            inner(name, value)

    return check


def several(inner: Check) -> Check:
    """A list or tuple of what `inner` takes."""

    def check(name: str, value: object) -> None:
        require(isinstance(value, list | tuple), name, value, "a list", TypeError)
        for place, one in enumerate(value):
            inner(f"{name}[{place}]", one)

    return check


def fields(known: Mapping[str, Check]) -> Check:
    """A dict with at least one of these fields and no others."""

    def check(name: str, value: object) -> None:
        wants = f"a dict with some of the fields {', '.join(known)}"
        require(isinstance(value, dict), name, value, wants, TypeError)
        require(bool(value) and set(value) <= set(known), name, value, wants)
        for part, one in value.items():
            known[part](part, one)

    return check
