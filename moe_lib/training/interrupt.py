"""Ctrl-C, or Jupyter's stop button, without tearing a step apart."""

import signal
import threading


class FinishStepOnInterrupt:
    """Within the `with` block the first interrupt only sets `.requested`; a second one stops at
    once as usual.

    An optimiser step that is broken off half-way leaves some weights updated and some not: no such
    state can be resumed. Signals reach the main thread only, so in any other thread this does
    nothing.
    """

    def __enter__(self):
        self.requested = False
        self._previous = None
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._remember)
        return self

    def _remember(self, number, frame):
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *error):
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
