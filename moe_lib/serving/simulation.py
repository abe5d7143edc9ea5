"""What a way of batching is worth: requests come by a clock, and passes of the model move it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moe_lib.errors import require
from moe_lib.serving.arrivals import Arrival
from moe_lib.serving.requests import Work
from moe_lib.validation import Choice, checked


@dataclass(frozen=True)
class Moment:
    """A point on both clocks, which stand still in no work and jump to the next arrival.

    passes   calls of the model by then
    seconds  of work by then
    """

    passes: float
    seconds: float


@dataclass(frozen=True)
class Served:
    """One request's history: when it came, when its first token was there, when its last."""

    number: int
    arrived: Moment
    first: Moment
    ended: Moment
    tokens: tuple[int, ...]

    def waited(self, unit: str = "seconds") -> float:
        """Time to the first token."""
        return getattr(self.first, unit) - getattr(self.arrived, unit)

    def took(self, unit: str = "seconds") -> float:
        """Time to the last token."""
        return getattr(self.ended, unit) - getattr(self.arrived, unit)


@dataclass(frozen=True)
class Simulated:
    """What `simulate` saw.

    requests  one Served each, in the order of arrival
    work      passes, positions, padding and tokens
    seconds   of work, all steps together; idle time is not in it
    """

    requests: list[Served]
    work: Work
    seconds: float

    @property
    def throughput(self) -> float:
        """Tokens that somebody asked for, per second of work."""
        return self.work.tokens / max(self.seconds, 1e-9)

    @property
    def tokens_per_pass(self) -> float:
        return self.work.tokens / max(1, self.work.passes)

    def quantile(self, what: str, share: float = 0.5, unit: str = "seconds") -> float:
        """Of "waited" or "took", the value that so large a share of requests does not exceed."""
        values = sorted(getattr(one, what)(unit) for one in self.requests)
        return values[min(len(values) - 1, int(share * len(values)))]


@checked
def simulate(
    server: Any, arrivals: Sequence[Arrival], unit: Choice("passes", "seconds") = "passes"
) -> Simulated:
    """Serve `arrivals` with an idle `Engine` or `StaticBatches`.

    unit   of the arrivals' times: "passes" of the model, which makes the order of events the same
           on every machine; or "seconds" of measured work

    A request that comes during a step is submitted after it. `QueueFull` is raised on.
    """
    missing = [name for name in ("submit", "step", "idle", "work") if not hasattr(server, name)]
    require(not missing, "server", server, "an Engine or StaticBatches", TypeError)
    require(len(arrivals) > 0, "arrivals", arrivals, "at least one Arrival")
    require(server.idle, "server", "one that is at work", "one that is idle")
    return _Clock(server, sorted(arrivals, key=lambda one: one.time), unit).run()


class _Clock:
    """A simulation at work."""

    def __init__(self, server: Any, arrivals: list[Arrival], unit: str):
        self.server, self.coming, self.unit = server, arrivals[::-1], unit
        self.now, self.worked, self.before = (
            {"passes": 0.0, "seconds": 0.0},
            0.0,
            server.work.passes,
        )
        self.arrived, self.first, self.tokens, self.done = {}, {}, {}, []

    def run(self) -> Simulated:
        while self.coming or not self.server.idle:
            if self.server.idle:  # nothing to do: the clocks go on to the next arrival
                gap = max(0.0, self.coming[-1].time - self.now[self.unit])
                self.now[self.unit] += gap
            while self.coming and self.coming[-1].time <= self.now[self.unit]:
                self._arrive(self.coming.pop())
            self._step()
        return Simulated(
            sorted(self.done, key=lambda one: one.number), self.server.work, self.worked
        )

    def _arrive(self, one: Arrival) -> None:
        number = self.server.submit(one.request)
        self.tokens[number] = []
        late = dict(self.now) | {self.unit: one.time}  # it may have come during the last step
        self.arrived[number] = Moment(**late)

    def _step(self) -> None:
        begun = time.perf_counter()
        written = self.server.step()
        took = time.perf_counter() - begun
        self.worked += took
        self.now["seconds"] += took
        self.now["passes"] += self.server.work.passes - self.before
        self.before = self.server.work.passes
        for one in written:
            moment = Moment(**self.now)
            if one.token is not None:
                self.tokens[one.request].append(one.token)
                self.first.setdefault(one.request, moment)
            if one.finished:
                first = self.first.get(one.request, moment)
                history = self.arrived[one.request], first, moment
                new = tuple(self.tokens[one.request])
                self.done.append(Served(one.request, *history, new))
