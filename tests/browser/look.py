"""Open a notebook in a real JupyterLab, run it, and save pictures of it from top to bottom.

    python -m tests.browser.look 00_start_here.ipynb --out pictures [--dark] [--no-run]
        [--width 1280]

The way to see a notebook as its reader does, page by page. Prints what the page complained about.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser.harness import PANEL, Watch, lab_page, launch, open_notebook, run_all, set_theme
from tests.browser.lab_server import LabServer

# JupyterLab draws only the cells near the visible part, unless told to draw them all.
ALL_CELLS = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}
SCROLLER = f"{PANEL} .jp-WindowedPanel-outer"
OVERLAP = 40


def take_slices(page: Page, folder: Path, prefix: str) -> list[Path]:
    """Scroll through the open notebook and save one picture per page of it; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page.evaluate("window.jupyterapp.shell.collapseLeft()")
    page.wait_for_timeout(500)
    scroller = page.locator(SCROLLER).first
    taken, position = [], 0
    while True:
        scroller.evaluate("(element, top) => { element.scrollTop = top; }", position)
        page.wait_for_timeout(400)
        path = folder / f"{prefix}_{len(taken) + 1:02d}.png"
        page.locator(PANEL).first.screenshot(path=path)
        taken.append(path)
        # Asked anew each time: pictures and widgets may still be growing.
        seen, height, total = scroller.evaluate(
            "e => [e.scrollTop, e.clientHeight, e.scrollHeight]"
        )
        if seen + height >= total - 1:
            return taken
        position = seen + height - OVERLAP


def look(
    notebook: str, folder: Path, dark: bool, run: bool, size: tuple[int, int], timeout: float
) -> bool:
    """Take the pictures; returns False if a cell failed, or the page logged an error or reached
    outside."""
    watch, went_well = Watch(), True
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        server = LabServer(Path(work), settings=ALL_CELLS).start()
        try:
            if Path(notebook).is_file():
                shutil.copy(notebook, server.notebooks)
            with (
                sync_playwright() as playwright,
                lab_page(launch(playwright), server, watch, size=size) as page,
            ):
                open_notebook(page, Path(notebook).name)
                set_theme(page, "dark" if dark else "light")
                if run:
                    start = time.monotonic()
                    went_well = run_all(page, timeout)
                    word = "all cells ran" if went_well else "a cell failed"
                    print(f"{word}, {time.monotonic() - start:.1f} s")
                prefix = f"{Path(notebook).stem}_{'dark' if dark else 'light'}"
                for path in take_slices(page, folder, prefix):
                    print(path)
        finally:
            server.stop()
    for problem in (*watch.outside, *watch.errors):
        print(f"problem: {problem}")
    return went_well and not watch.outside and not watch.errors


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "notebook", help="file name in the folder notebooks/, or a path to any notebook"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--dark", action="store_true", help="JupyterLab's dark theme")
    parser.add_argument("--no-run", action="store_true", help="show the notebook as it was saved")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--timeout", type=float, default=300, help="seconds the notebook may run")
    chosen = parser.parse_args()
    size = (chosen.width, chosen.height)
    return (
        0
        if look(chosen.notebook, chosen.out, chosen.dark, not chosen.no_run, size, chosen.timeout)
        else 1
    )


if __name__ == "__main__":
    sys.exit(main())
