"""Notebooks on the pretend device: `python -m tests.devices.notebooks 03` runs every code cell.

A cell that fails ends the run: its number and its traceback are printed, and the exit status is 1.
"""

import copy
import os
import sys
import time

from tests.devices.pretend_device import register


def run(number: str) -> None:
    """Run the chapter's cells in this process, in their order, with COURSE_DEVICE set."""
    from IPython.core.interactiveshell import InteractiveShell

    from moe_course.notebooks import normalise as form
    from moe_lib.devices import VARIABLE
    from moe_lib.paths import REPOSITORY

    os.environ[VARIABLE] = str(register())
    os.environ.setdefault("MPLBACKEND", "agg")
    _save_from_the_cpu()
    (path,) = (REPOSITORY / "notebooks").glob(f"{number}_*.ipynb")
    os.chdir(path.parent)
    shell = InteractiveShell.instance()
    for place, cell in enumerate(form.read(path).cells):
        if cell.cell_type == "code":
            started = time.perf_counter()
            result = shell.run_cell(cell.source)
            print(f"[{place}] {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
            if not result.success:
                sys.exit(f"cell {place} of {path.name} fails on the pretend device")


def _save_from_the_cpu() -> None:
    """transformers asks tensors for their addresses when it saves, and a pretend one has none."""
    from transformers import PreTrainedModel

    save = PreTrainedModel.save_pretrained
    PreTrainedModel.save_pretrained = lambda model, *given, **how: save(
        copy.deepcopy(model).cpu(), *given, **how
    )


if __name__ == "__main__":
    run(sys.argv[1])
