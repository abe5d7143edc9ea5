"""What can go wrong during set-up, told in one line each."""

import errno

from moe_course.setup.places import course_command


class SetupError(Exception):
    """The set-up cannot go on. The message is one line that says what to do."""


NO_VENV = (
    "Python's venv module is missing or incomplete: on Debian or Ubuntu run `sudo apt "
    "install python3-venv` "
    "(for a Python of another version its own package, such as python3.12-venv), then start again."
)

NETWORK_SIGNS = (
    "failed to establish a new connection",
    "temporary failure in name resolution",
    "name or service not known",
    "nodename nor servname",
    "getaddrinfo failed",
    "network is unreachable",
    "connection refused",
    "connection reset",
    "connection timed out",
    "connecttimeouterror",
    "readtimeouterror",
    "read timed out",
    "cannot connect to proxy",
    "max retries exceeded",
    "connection broken",
    "proxyerror",
    "failed to connect",
    "could not connect",
)


def is_disk_full(error: OSError) -> bool:
    """True for "no space left" and "quota exceeded", on Windows too (112 is its
    ERROR_DISK_FULL)."""
    full = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
    return error.errno in full or getattr(error, "winerror", None) == 112


def disk_full_message(folder) -> str:
    return (
        f"The disk ran full while installing into {folder}: free some space (torch alone is "
        "large, and on "
        "Linux with its CUDA libraries larger still), then start again; it will begin afresh."
    )


def says_disk_full(log: str) -> bool:
    lowered = log.lower()
    return any(
        sign in lowered
        for sign in (
            "no space left on device",
            "not enough space on the disk",
            "disk quota exceeded",
        )
    )


def says_no_network(log: str) -> bool:
    lowered = log.lower()
    return any(sign in lowered for sign in NETWORK_SIGNS)


def explain_pip_failure(log: str, folder, log_file) -> SetupError:
    """One line for what made pip fail.

    Args:
        log: everything pip printed.
        folder: the environment it was installing into.
        log_file: where the reader finds the whole of `log`.
    """
    if says_disk_full(log):
        return SetupError(disk_full_message(folder))
    if says_no_network(log):
        return SetupError(
            "No network: pip could not reach the package index. Connect and start again; "
            f"after the first installation the course works offline. (Details: {log_file})"
        )
    errors = [line for line in log.splitlines() if line.startswith("ERROR:")]
    if any(
        "No matching distribution" in line or "Could not find a version" in line for line in errors
    ):
        return SetupError(
            "The package index has no fitting version for this Python and system: "
            f"{errors[-1][7:]}. "
            f"Python 3.11 is what the course is tested with. (Details: {log_file})"
        )
    last = errors[-1][7:] if errors else (log.strip().splitlines() or ["it said nothing"])[-1]
    return SetupError(
        f"pip could not install the packages: {last.strip()} (Details: {log_file}). "
        f"`{course_command('lab')}` tries again."
    )
