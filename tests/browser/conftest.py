"""Fixtures: one JupyterLab and one browser for all browser tests, a fresh page for each."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from moe_course.browser import ADVICE, find_browser
from tests.browser.harness import Watch, lab_page, launch
from tests.browser.lab_server import LabServer


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[LabServer]:
    """A running JupyterLab; `lab.notebooks` is the folder it shows, a copy of the repository's."""
    require_browser()
    server = LabServer(tmp_path_factory.mktemp("lab")).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    require_browser()
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def watch() -> Watch:
    """What the page asked for outside this machine and complained about; a test may clear what it
    expects."""
    return Watch()


@pytest.fixture
def page(browser: Browser, lab: LabServer, watch: Watch) -> Iterator[Page]:
    """A page on JupyterLab. A test fails that makes it reach outside this machine or log an
    error."""
    lab.restore_notebooks()
    with lab_page(browser, lab, watch=watch) as page:
        yield page
    assert watch.outside == [], (
        f"the page asked for something outside this machine: {watch.outside}"
    )
    assert watch.errors == [], f"the page logged errors: {watch.errors}"


def require_browser() -> None:
    """Without a browser: a failure in continuous integration, elsewhere a skip that says why."""
    if find_browser():
        return
    reason = f"no browser found; {ADVICE}"
    if os.environ.get("CI", "").lower() in ("true", "1", "yes"):
        pytest.fail(reason)
    pytest.skip(reason)
