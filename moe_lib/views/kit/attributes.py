"""What callers may set on a widget: a name that it does not have is a slip of the pen, and says
so."""

from difflib import get_close_matches
from inspect import getattr_static
from typing import ClassVar

from traitlets import TraitType

from moe_lib.errors import refusal, require


class KnownAttributes:
    """Mixin, placed first among the bases. Once a widget is made, nothing can be set on it but its
    traits and the properties that take a value; TypeError for everything else, by its name.

    TELLS  attributes that callers only read; the widget keeps each as "_name"
    SETS   attributes that go, by their name, to the widget's method `set`; kept as "_name", too
    """

    TELLS: ClassVar[tuple[str, ...]] = ()
    SETS: ClassVar[tuple[str, ...]] = ()
    _made = False

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        for name in vars(cls).get("TELLS", ()):
            setattr(cls, name, _told(name))
        for name in vars(cls).get("SETS", ()):
            setattr(cls, name, _set(name))

    def __setattr__(self, name: str, value: object) -> None:
        if self._made and not name.startswith("_") and not _takes(type(self), name, value):
            known = [one for one in dir(type(self)) if one[0] != "_" and _is_ours(type(self), one)]
            near = get_close_matches(name, known, n=1)
            hint = f"such as {near[0]}" if near else f"one of {', '.join(known)}"
            raise TypeError(refusal(name, value, f"an attribute that can be set, {hint}"))
        super().__setattr__(name, value)


def _takes(kind: type, name: str, value: object) -> bool:
    found = getattr_static(kind, name, None)
    if isinstance(found, property):
        return found.fset is not None
    return isinstance(found, TraitType) or (callable(found) and callable(value))


def _is_ours(kind: type, name: str) -> bool:
    """Is it for callers to set: a property of ours, or a trait of ours that is not drawn?"""
    found = getattr_static(kind, name, None)
    if isinstance(found, TraitType):
        ours = getattr(found.this_class, "__module__", "").startswith("moe_lib.")
        return ours and name not in ("view", "look")
    return isinstance(found, property) and found.fset is not None


def _told(name: str) -> property:
    return property(lambda self: getattr(self, f"_{name}"), doc=f"{name}, to be read")


def _set(name: str) -> property:
    def put(self, value):
        require(value is not None, name, value, "a value", TypeError)
        self.set(**{name: value})

    return property(lambda self: getattr(self, f"_{name}"), put, doc=f"as set({name}=...)")
