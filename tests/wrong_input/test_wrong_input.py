"""Wrong input is refused by name: every public function, one wrong argument at a time."""

import importlib
import pkgutil

import pytest

import moe_lib
from tests.wrong_input.table import Made, cases
from tests.wrong_input.tables import ENTRIES, EXEMPT

CASES = cases(ENTRIES)
PROMISED = (ValueError, TypeError, OSError)
DEEP = ("RuntimeError", "KeyError", "IndexError", "AttributeError", "UnicodeDecodeError")


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.name for entry in ENTRIES])
def test_the_call_that_the_wrong_ones_are_made_from_works(entry):
    entry.run(entry.valid())


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_a_wrong_argument_is_refused_by_its_name(case):
    _, entry, argument, value = case
    arguments = entry.valid()
    arguments[argument] = value.make(arguments) if isinstance(value, Made) else value
    with pytest.raises(PROMISED) as caught:
        entry.run(arguments)
    message = str(caught.value)
    assert entry.says.get(argument, argument) in message, message
    assert type(caught.value).__name__ not in DEEP, repr(caught.value)
    # An error about a file says what is wrong there, in whatever words.
    file = argument in entry.says or isinstance(caught.value, OSError)
    assert "wants" in message or file, message


def public_functions() -> list[str]:
    """Names in the `__all__` of every package of the library that can be called."""
    packages = [moe_lib.__name__]
    for module in pkgutil.walk_packages(moe_lib.__path__, "moe_lib."):
        if module.ispkg:
            packages.append(module.name)
    found = {}
    for package in packages:
        loaded = importlib.import_module(package)
        for name in getattr(loaded, "__all__", ()):
            thing = getattr(loaded, name)
            if callable(thing):
                found.setdefault(id(thing), f"{package}.{name}")
    return sorted(found.values())


def test_every_public_function_has_an_entry():
    """A new public function joins the table, or says in EXEMPT why there is nothing to refuse."""
    listed = {entry.name for entry in ENTRIES}
    called = listed | {name.rpartition(".")[0] for name in listed}  # a method counts for its class
    missing = [name for name in public_functions() if name not in called and name not in EXEMPT]
    assert not missing, f"without an entry in tests/wrong_input/tables: {missing}"


def test_there_are_enough_of_them():
    assert len(CASES) >= 800
