"""A function in a thread of its own, whose progress a widget shows and which a reader can stop."""

import atexit
import threading
import time
from collections.abc import Callable

UPDATE_EVERY = 0.25  # seconds between two messages to the page, however fast the steps are


class BackgroundCall:
    """`function(report)` in the background; it calls report(row) now and then, and ends when that
    returns True.

    row        what `moe_lib.tuning.compare` tells its callback: case, seed, run, runs, step, loss
    on_change  called with this object after some reports, and at the end

    state     "ready", "running", "finished", "stopped" or "failed"
    progress  {"words": what is being done, "share": of the runs that are done, 0 to 1}
    result    what the function returned; error, what it raised
    """

    def __init__(self, function: Callable, on_change: Callable[["BackgroundCall"], None]):
        self._function, self._on_change = function, on_change
        self._stop, self._last = threading.Event(), 0.0
        self._thread = threading.Thread(target=self._work, name="moe_lib run", daemon=True)
        self.state, self.progress, self.result, self.error = "ready", None, None, None

    def start(self) -> None:
        """Begin. A call starts once."""
        self.state = "running"
        self.progress = {"words": "Starting …", "share": None}
        atexit.register(self.stop)  # a daemon thread inside torch must not outlive the interpreter
        self._thread.start()

    def stop(self, wait: bool = True) -> None:
        """The next report answers True; with `wait`, return when the thread has ended."""
        self._stop.set()
        if wait and self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it has ended, at most `timeout` seconds later; raises what the function
        raised."""
        self._thread.join(timeout)
        if self.error is not None:
            raise self.error
        return not self._thread.is_alive()

    def report(self, row: dict) -> bool:
        """Take a row of progress -> whether the function should end."""
        if time.monotonic() - self._last >= UPDATE_EVERY:
            self._last = time.monotonic()
            self.progress = {
                "words": _row_words(row),
                "share": row["run"] / row["runs"] if row.get("runs") else None,
            }
            self._on_change(self)
        return self._stop.is_set()

    def _work(self) -> None:
        try:
            self.result = self._function(self.report)
            state = "stopped" if self._stop.is_set() else "finished"
        except (
            BaseException
        ) as error:  # a thread has nobody to raise to: kept for wait() and for the reader
            self.error, state = error, "failed"
        atexit.unregister(self.stop)
        self.state = state
        self._on_change(self)


def _row_words(row: dict) -> str:
    parts = [
        f"run {row['run'] + 1} of {row['runs']}" if row.get("runs") else "",
        str(row.get("case", "")),
        f"seed {row['seed']}" if "seed" in row else "",
        f"step {row['step']}" if "step" in row else "",
        f"loss {row['loss']:.2f}" if "loss" in row else "",
    ]
    return ", ".join(part for part in parts if part)
