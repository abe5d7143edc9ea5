"""What a browser test does in JupyterLab: open a notebook, run it, look into its kernel, take a
picture.

Everything goes through `window.jupyterapp`, JupyterLab's own object, which
`--expose-app-in-browser` hands out: its answers are facts, where the page's indicators are
sometimes a moment early or late.
"""

import ast
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import nbformat
from playwright.sync_api import Browser, Locator, Page, Playwright

from moe_course.browser import find_browser
from tests.browser.lab_server import LabServer

BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"

KERNEL_READY = """() => {
  const panel = window.jupyterapp?.shell.currentWidget;
  const kernel = panel?.sessionContext?.session?.kernel;
  return Boolean(panel?.context?.isReady && kernel
    && kernel.connectionStatus === 'connected' && kernel.status === 'idle');
}"""

ASK_KERNEL = """async ([expression, milliseconds]) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const future = kernel.requestExecute(
    {code: '', silent: false, store_history: false, user_expressions: {answer: expression}});
  const late = new Promise(resolve => setTimeout(() => resolve(null), milliseconds));
  const reply = await Promise.race([future.done, late]);
  return reply === null ? null : reply.content;
}"""

RUN_ALL = """async (milliseconds) => {
  const late = new Promise(resolve => setTimeout(() => resolve('late'), milliseconds));
  return await Promise.race([window.jupyterapp.commands.execute('notebook:run-all-cells'), late]);
}"""

# Of an element: the contrast of its text with its background (WCAG 2), from 1 to 21.
CONTRAST = """element => {
  const channels = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const linear = c => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = colour => {
    const [r, g, b] = channels(colour).map(v => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const style = getComputedStyle(element);
  const [low, high] = [light(style.color), light(style.backgroundColor)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}"""


@dataclass
class Watch:
    """What a page did that a test wants to know.

    Attributes:
        outside: addresses it asked for that are not on this machine; they were refused.
        errors: what it wrote to the console as an error, and uncaught exceptions.
    """

    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def launch(playwright: Playwright) -> Browser:
    """Start the installed browser; raises RuntimeError if there is none."""
    path = find_browser()
    if path is None:
        raise RuntimeError("no browser found")
    return playwright.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS)


@contextmanager
def lab_page(
    browser: Browser, server: LabServer, watch: Watch, theme: str = "light", size=(1280, 900)
) -> Iterator[Page]:
    """A fresh page on `server`, logged in; `watch` gets what it asks for outside and complains
    about."""
    context = browser.new_context(
        base_url=server.url,
        viewport={"width": size[0], "height": size[1]},
        color_scheme=theme,
        locale="en-US",
    )
    context.route(lambda url: not _is_here(url), lambda route: _refuse(route, watch))
    page = context.new_page()
    page.on(
        "websocket",
        lambda socket: None if _is_here(socket.url) else watch.outside.append(socket.url),
    )
    page.on("console", lambda m: watch.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: watch.errors.append(str(error)))
    page.goto(f"/login?token={server.token}&next=%2Fapi%2Fstatus")
    try:
        yield page
    finally:
        context.close()
        server.end_kernels()


def _is_here(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "about") or parts.hostname == "127.0.0.1"


def _refuse(route, watch: Watch) -> None:
    watch.outside.append(route.request.url)
    route.abort()


def make_notebook(lab: LabServer, page: Page, name: str, *cells: str) -> None:
    """Put a notebook of these code cells into JupyterLab's folder and open it."""
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content.metadata.kernelspec = kernel
    nbformat.write(content, lab.notebooks / name)
    open_notebook(page, name)


def open_notebook(page: Page, name: str, timeout: float = 60) -> None:
    """Open a notebook of the server's `notebooks` folder and wait until its kernel is connected and
    idle.

    Args:
        name: its file name, such as "00_start_here.ipynb".
        timeout: seconds.
    """
    page.goto(f"/lab/tree/notebooks/{quote(name)}?reset")
    page.wait_for_selector(f"{PANEL} .jp-Cell", timeout=timeout * 1000)
    wait_for_kernel(page, timeout)


def open_widget(lab: LabServer, page: Page, name: str, cell: str) -> Locator:
    """The widget with the test id `name`, which `cell` shows, in a notebook of its own."""
    make_notebook(lab, page, f"{name.replace('-', '_')}.ipynb", cell)
    assert run_all(page)
    root = page.get_by_test_id(name)
    root.wait_for()
    return root


def wait_for_kernel(page: Page, timeout: float = 60) -> None:
    """Wait until the open notebook's kernel is connected and idle."""
    page.wait_for_function(KERNEL_READY, timeout=timeout * 1000)


def run_all(page: Page, timeout: float = 300) -> bool:
    """Run all cells of the open notebook; True if every one ran without an error.

    Raises:
        TimeoutError: if they have not ended after `timeout` seconds.
    """
    wait_for_kernel(page)
    outcome = page.evaluate(RUN_ALL, timeout * 1000)
    if outcome == "late":
        raise TimeoutError(f"the notebook still ran after {timeout} s")
    return outcome is True


def kernel_eval(page: Page, expression: str, timeout: float = 60) -> str:
    """Evaluate a Python expression in the open notebook's kernel; returns its repr.

    Raises:
        RuntimeError: if the expression raises, naming the error.
        TimeoutError: if the kernel does not answer in `timeout` seconds.
    """
    content = page.evaluate(ASK_KERNEL, [expression, timeout * 1000])
    if content is None:
        raise TimeoutError(f"the kernel did not answer in {timeout} s: {expression}")
    answer = content.get("user_expressions", {}).get("answer", content)
    if answer.get("status") != "ok":
        raise RuntimeError(f"{expression}: {answer.get('ename')}: {answer.get('evalue')}")
    return answer["data"]["text/plain"]


def kernel_value(page: Page, expression: str, timeout: float = 60):
    """Like `kernel_eval`, for numbers, strings, lists and the like: returns the value itself."""
    return ast.literal_eval(kernel_eval(page, expression, timeout))


def wait_for_value(page: Page, expression: str, expected, timeout: float = 20) -> None:
    """Ask the kernel until `expression` has the expected value, as widgets report with a small
    delay.

    Raises:
        AssertionError: with the last value, if that takes longer than `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while (value := kernel_value(page, expression)) != expected:
        if time.monotonic() > deadline:
            raise AssertionError(f"{expression} is {value!r} in the kernel, expected {expected!r}")
        page.wait_for_timeout(100)


def set_theme(page: Page, theme: str) -> None:
    """Switch to "dark" or "light" the way a reader's system does: the course's JupyterLab follows
    it."""
    if theme not in ("dark", "light"):
        raise ValueError(f"theme: got {theme!r}; wants 'dark' or 'light'")
    splash_is_gone(page)
    page.emulate_media(color_scheme=theme)
    light = "true" if theme == "light" else "false"
    page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")
    splash_is_gone(page)


def splash_is_gone(page: Page) -> None:
    """Wait until JupyterLab's splash screen has left the page.

    It takes the splash away 200 ms after a change of theme. A second change within that time makes
    it take it away twice, and the second time fails with an error ("removeChild … not a child of
    this node") that is not ours.
    """
    page.wait_for_selector("#jupyterlab-splash", state="detached")


def screenshot(page: Page, path: Path) -> None:
    """Save a picture of the open notebook."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    page.locator(PANEL).first.screenshot(path=path)
