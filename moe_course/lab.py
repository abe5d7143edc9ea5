"""`course.py lab`: JupyterLab, on the first notebook.

python -m moe_course.lab [arguments of JupyterLab]
"""

import os
import sys
from pathlib import Path

from moe_course.setup.folders import ROOT

FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"


def lab_arguments(arguments: list[str], root: Path = ROOT, is_root: bool = False) -> list[str]:
    """JupyterLab's arguments: the reader's own, the first notebook unless they name one, root's
    permission.

    JupyterLab's defaults stay: it listens on this machine only and asks for its token.
    """
    named = any(not word.startswith("-") and Path(word).exists() for word in arguments)
    chosen = any("default_url" in word or "root_dir" in word for word in arguments)
    ours = []
    if (root / FIRST_NOTEBOOK).is_file() and not named and not chosen:
        ours.append(f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}")
    if is_root and "--allow-root" not in arguments:
        ours.append("--allow-root")
    return [*ours, *arguments]


def main(arguments: list[str]) -> None:
    from jupyterlab.labapp import main as jupyterlab

    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    print("Opening JupyterLab. Leave this window open; Ctrl-C here ends it.", flush=True)
    jupyterlab(lab_arguments(arguments, is_root=is_root))


if __name__ == "__main__":
    main(sys.argv[1:])
