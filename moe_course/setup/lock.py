"""One set-up at a time: a second start waits instead of deleting what the first is making."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moe_course.setup.errors import SetupError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


def _try_lock(descriptor: int) -> bool:
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


@contextmanager
def only_one(path: Path, announce=print, pause: float = 0.5) -> Iterator[None]:
    """Hold the lock file `path`; wait while another process holds it.

    The system lets go of the lock when its process ends, however it ends, so a stale file does no
    harm.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise SetupError(
            f"Cannot write in {path.parent} ({error.strerror}): copy the course to a folder "
            "of your own."
        ) from error
    try:
        if not _try_lock(descriptor):
            announce(
                "Another start of the course is setting it up; waiting for it to finish "
                "(Ctrl-C to leave)."
            )
            while not _try_lock(descriptor):
                time.sleep(pause)
        yield
    finally:
        os.close(descriptor)
