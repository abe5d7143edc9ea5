"""What can go wrong during set-up, told in one line each."""

import platform
import re

from moe_course.setup.folders import course_command

NO_NETWORK = re.compile(
    "(?i)new connection|name resolution|name or service not known|nodename nor servname|dns error"
    "|getaddrinfo|network is unreachable|connection (refused|reset|timed out|broken)|readtimeout"
    "|connecttimeout|(read|operation) timed out|max retries exceeded|proxy ?error"
    "|cannot connect to proxy|failed to connect|could not connect|tcp connect error"
)
DISK_FULL = re.compile("(?i)no space left|not enough space on the disk|disk quota exceeded")
NO_VENV = (
    "Python's venv module is missing or incomplete: on Debian or Ubuntu run `sudo apt install "
    "python3-venv` (for a Python of another version its own package, such as python3.12-venv), "
    "then start again."
)


class SetupError(Exception):
    """The set-up cannot go on. The message is one line that says what to do."""


def last_line(log: str) -> str:
    """The last line that is marked as an error, or the last of all."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line[6:].strip() for line in lines if line.lower().startswith("error:")]
    return (errors or lines or ["it said nothing"])[-1]


def explain(log: str, folder, details: str) -> SetupError:
    """One line for what made an installation into `folder` fail, from what was said meanwhile."""
    if DISK_FULL.search(log):
        return SetupError(
            f"The disk ran full while installing into {folder}: free some space (torch alone is "
            "large, with its CUDA libraries larger still), then start again; it begins afresh."
        )
    if NO_NETWORK.search(log):
        return SetupError(
            "No network: the package index could not be reached. Connect and start again; after "
            f"the first installation the course works offline. {details}"
        )
    return SetupError(
        f"The environment could not be made: {last_line(log)} {details} The course is tested with "
        f"Python 3.11; this is {platform.python_version()}. `{course_command('lab')}` tries again."
    )
