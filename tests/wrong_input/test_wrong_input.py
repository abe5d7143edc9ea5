"""Wrong input is refused by name: every public function, one wrong argument at a time."""

import importlib
import pkgutil

import pytest

import moe_lib
from tests.wrong_input.table import Made, cases, find
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


# Modules whose public functions are doors, beside the `__all__` of every package.
DOORS = [
    f"moe_lib.{name}"
    for name in (
        "counting",
        "intervals",
        "model",
        "opening",
        "parallel.cost",
        "parallel.measuring",
        "parallel.placement",
        "published",
        "text.corpora.mixture",
        "text.corpora.near_duplicates",
        "text.corpora.readers",
        "text.order",
        "tracing.analysis.coactivation",
        "tracing.analysis.importance",
        "tracing.analysis.information",
        "tracing.analysis.saturation",
        "tracing.analysis.specialisation",
        "training.cure_settings",
        "training.live",
        "training.recorder",
        "training.routing_record",
        "training.upcycling",
    )
]


def public_functions() -> dict[int, str]:
    """id -> name of what can be called: the `__all__` of every package, the names of DOORS."""
    packages = [moe_lib.__name__, *DOORS]
    for module in pkgutil.walk_packages(moe_lib.__path__, "moe_lib."):
        if module.ispkg:
            packages.append(module.name)
    found = {}
    for package in packages:
        loaded = importlib.import_module(package)
        for name in getattr(loaded, "__all__", [n for n in vars(loaded) if package in DOORS]):
            thing = getattr(loaded, name)
            own = hasattr(loaded, "__all__") or getattr(thing, "__module__", "").startswith(package)
            if callable(thing) and own and not name.startswith("_"):
                found.setdefault(id(thing), f"{package}.{name}")
    return found


def test_every_public_function_has_an_entry():
    """A new public function joins the table, or says in EXEMPT why there is nothing to refuse."""
    listed = {entry.name for entry in ENTRIES} | set(EXEMPT)
    listed |= {name.rpartition(".")[0] for name in listed}  # a method counts for its class
    known = {id(find(name)) for name in listed}  # under whatever name it is imported
    missing = sorted(name for number, name in public_functions().items() if number not in known)
    assert not missing, f"without an entry in tests/wrong_input/tables: {missing}"


def test_no_reason_is_given_for_what_is_not_there():
    for name in EXEMPT:
        find(name)


def test_there_are_enough_of_them():
    assert len(CASES) >= 800
