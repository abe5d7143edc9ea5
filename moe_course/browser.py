"""Finds an installed browser of the Chromium family, for the browser tests."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

ON_PATH = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
)

ADVICE = (
    "only the browser tests need it: install Chromium or Chrome (Debian: apt install chromium), "
    "or set COURSE_BROWSER to the program's path"
)


def likely_places(platform: str, environ: Mapping[str, str]) -> list[Path]:
    """Where macOS and Windows keep browsers, which are not on the PATH there.

    Args:
        platform: as `sys.platform`: "darwin", "win32" or another.
        environ: environment variables.
    """
    if platform == "darwin":
        applications = [Path("/Applications"), Path(environ.get("HOME", "/")) / "Applications"]
        names = ("Chromium", "Google Chrome", "Microsoft Edge")
        return [
            folder / f"{name}.app/Contents/MacOS/{name}"
            for folder in applications
            for name in names
        ]
    if platform == "win32":
        folders = [
            environ[v]
            for v in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")
            if environ.get(v)
        ]
        tails = (
            "Chromium/Application/chrome.exe",
            "Google/Chrome/Application/chrome.exe",
            "Microsoft/Edge/Application/msedge.exe",
        )
        return [Path(folder) / tail for folder in folders for tail in tails]
    return []


def find_browser() -> str | None:
    """The path of a browser, or None. The environment variable COURSE_BROWSER goes first."""
    if chosen := os.environ.get("COURSE_BROWSER"):
        return shutil.which(chosen)
    for name in ON_PATH:
        if found := shutil.which(name):
            return found
    return next(
        (str(place) for place in likely_places(sys.platform, os.environ) if place.is_file()), None
    )
