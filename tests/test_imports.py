"""Opening a checkpoint of ours and making its explorer stays quick: what is slow to import and not
needed for it is not imported."""

import subprocess
import sys

import pytest

SLOW = ("transformers", "datasets", "sklearn", "torch._dynamo", "pandas", "matplotlib", "scipy")
OPEN = (
    "from moe_lib import explore, load_checkpoint; "
    "explorer = explore(*load_checkpoint('mini-v2'), 'Any text.'); explorer.k = 1; "
)


def imported(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of `names` a fresh Python has imported after `code`."""
    code += f"import sys; print(*(name for name in {names!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_the_first_explorer_imports_nothing_slow():
    assert imported(OPEN, (*SLOW, "torch")) == ["torch"]


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_import_would_be_noticed(name):
    assert name in imported(f"import {name}; ", SLOW)


def test_the_library_itself_imports_nothing_at_all():
    assert imported("import moe_lib; ", ("torch", "numpy", *SLOW)) == []
