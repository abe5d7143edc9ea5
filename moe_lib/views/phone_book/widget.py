"""The phone book: two models learn facts by heart, and each fact lights up when it is recalled."""

import threading
from base64 import b64encode
from collections.abc import Callable, Sequence

import anywidget
import traitlets

from moe_lib.errors import require, shown
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.background import BackgroundCall
from moe_lib.views.kit.finite import finite
from moe_lib.views.kit.page_messages import Form, MessageWidget, one_of
from moe_lib.views.kit.static_display import StaticDisplay
from moe_lib.views.phone_book.recall import COLOURS, Recall, columns_of
from moe_lib.views.phone_book.words import plan_words, race_words, side_words

FACTS = (1024, 2048, 4096, 8192)
EXPERTS = (2, 4, 8, 16, 32, 64)
CHOSEN = (1, 2, 4, 8)
ACTIVE = 24  # hidden units that a token goes through, whatever is stored
_STATES = {
    "ready": "",
    "running": "Training …",
    "finished": "Finished.",
    "stopped": "Stopped.",
    "failed": "The training failed.",
}


class PhoneBookRace(MessageWidget, StaticDisplay, anywidget.AnyWidget):
    """Choose facts, experts and how many a token uses; watch two models of equal work learn.

        def run(facts, experts, chosen, report):   # in a thread of its own
            for ...:                               # a few steps of both models
                if report([Recall("dense", …), Recall("8 experts", …)]):
                    return                         # the reader has pressed Stop
        race = PhoneBookRace(run, facts=4096, experts=32)
        race.start()
        race.wait()

    run                     (facts, experts, chosen, report); experts are 24 / chosen hidden units
                            wide, beside a dense layer of 24. `report` takes a list of Recall, and
                            returns True when the run is to end
    facts, experts, chosen  one of FACTS, EXPERTS, CHOSEN; chosen is at most experts. To be
                            assigned, too, while nothing runs

    For code:  start(), stop(), wait()
    To read:   sides (the last Recall of each model), curves ({name: [(step, share), …]}), state
    ("ready", "running", "finished", "stopped", "failed"), summary (in words)

    Raises TypeError or ValueError naming the argument.
    """

    _esm = script("phone_book")
    _css = style("phone_book")
    FORMS = (
        Form(
            "_choose",
            may={"facts": one_of(*FACTS), "experts": one_of(*EXPERTS), "chosen": one_of(*CHOSEN)},
        ),
        Form("_press", needs={"act": one_of("start", "stop")}),
    )
    KEPT = ("_plan",)
    TELLS = ("sides", "curves")
    view = traitlets.Dict().tag(sync=True)  # all that is drawn; phone_book.js only reads it
    _call: BackgroundCall | None = None

    def __init__(
        self, run: Callable[..., object], *, facts: int = 4096, experts: int = 32, chosen: int = 2
    ):
        require(callable(run), "run", type(run).__name__, "a function", TypeError)
        self._run, self._lock = run, threading.RLock()  # the run's thread publishes too
        self._plan = {}
        self._sides: list[Recall] = []
        self._curves: dict[str, list[tuple[int, float]]] = {}
        self._failure = ""
        self._choose(facts=facts, experts=experts, chosen=chosen)
        super().__init__(view=self._view())

    @property
    def facts(self) -> int:
        """Facts to learn."""
        return self._plan["facts"]

    @facts.setter
    def facts(self, facts: int) -> None:
        self._set(facts=facts)

    @property
    def experts(self) -> int:
        """Experts that the second model stores."""
        return self._plan["experts"]

    @experts.setter
    def experts(self, experts: int) -> None:
        self._set(experts=experts)

    @property
    def chosen(self) -> int:
        """Experts that a token uses."""
        return self._plan["chosen"]

    @chosen.setter
    def chosen(self, chosen: int) -> None:
        self._set(chosen=chosen)

    @property
    def state(self) -> str:
        return "ready" if self._call is None else self._call.state

    def start(self) -> None:
        """Train both models from the beginning, in the background. RuntimeError while a run goes
        on."""
        if self.state == "running":
            raise RuntimeError("start: a run is going on; stop() it, or wait() for its end")
        self._sides, self._curves, self._failure = [], {}, ""
        plan = dict(self._plan)
        self._call = BackgroundCall(
            lambda report: self._run(**plan, report=lambda sides: self._take(sides, report)),
            self._follow,
        )
        self._call.start()
        self._publish()

    def stop(self) -> None:
        """End the run after what is being computed; what has been learned stays on show."""
        if self._call is not None:
            self._call.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the run -> whether it has ended; raises what the run raised."""
        if self._call is None:
            raise RuntimeError("wait: nothing has been started")
        return self._call.wait(timeout)

    def close(self) -> None:
        """End the run and take the widget off the page."""
        self.stop()
        super().close()

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        parts = (self._problem or self._failure, plan_words(**self._shown_plan, active=ACTIVE))
        return " ".join(part for part in (*parts, race_words(self.sides)) if part)

    def figure(self):
        """What is shown, as a matplotlib figure."""
        from moe_lib.views.phone_book.figure import race_figure  # matplotlib waits for a picture

        return race_figure(self.facts, self.sides, self.curves)

    @property
    def _shown_plan(self) -> dict:
        return {name: self._plan[name] for name in ("facts", "experts", "chosen")}

    def _set(self, **choices) -> None:
        self._choose(**choices)
        self._publish()

    def _choose(self, **choices) -> None:
        """Other numbers; what was learned with the old ones leaves the page."""
        if self.state == "running":
            raise RuntimeError(f"{next(iter(choices))}: a run is going on; stop it first")
        known = {"facts": FACTS, "experts": EXPERTS, "chosen": CHOSEN}
        for name, value in choices.items():
            one_of(*known[name])(name, value)
        plan = {**self._plan, **choices}
        wants = f"at most the experts there are ({plan['experts']})"
        require(plan["chosen"] <= plan["experts"], "chosen", plan["chosen"], wants)
        self._plan, self._sides, self._curves, self._failure = plan, [], {}, ""

    def _press(self, act: str) -> None:
        """The page reports a press. Nothing here waits for the run."""
        if act == "start":
            self.start()
        elif self._call is not None:
            self._call.stop(wait=False)

    def _take(self, sides: Sequence[Recall], report: Callable[[dict], bool]) -> bool:
        """In the run's thread: keep what it tells -> whether it should end."""
        _check_sides(sides)
        with self._lock:
            self._sides = list(sides)
            for side in self.sides:
                self.curves.setdefault(side.name, []).append((side.step, side.share))
        return report({"step": sides[0].step})

    def _follow(self, call: BackgroundCall) -> None:
        """A few times a second and at the end, in the run's thread."""
        if call.state == "failed":
            self._failure = f"The training failed: {type(call.error).__name__}: {call.error}"
        self._publish()

    def _publish(self) -> None:
        with self._lock:  # no page sees half of a change
            super()._publish()

    def _view(self) -> dict:
        step = f" Step {self.sides[0].step} of {self.sides[0].steps}." if self.sides else ""
        return {
            **self._shown_plan,
            "choices": {"facts": FACTS, "experts": EXPERTS, "chosen": CHOSEN},
            "columns": columns_of(self.facts),
            "colours": COLOURS,
            "running": self.state == "running",
            "status": _STATES[self.state],
            "step": step.strip(),
            "problem": self._problem or self._failure,
            "plan": plan_words(**self._shown_plan, active=ACTIVE),
            "summary": race_words(self.sides),
            "sides": [self._side(side) for side in self.sides],
        }

    def _side(self, side: Recall) -> dict:
        return {
            "name": side.name,
            "words": side_words(side),
            "share": side.share,
            "recalled": sum(map(bool, side.known)),
            "known": packed(side.known),
            "bits": finite(side.bits_per_parameter, 3),
            "parameters": side.parameters,
            "active": side.active,
            "curve": [[step / side.steps, share] for step, share in self.curves[side.name]],
        }


def packed(known: Sequence[bool]) -> str:
    """Eight facts a byte, the first in the lowest bit; base64."""
    number = sum(1 << place for place, one in enumerate(known) if one)
    return b64encode(number.to_bytes(-(-len(known) // 8), "little")).decode("ascii")


def _check_sides(sides: object) -> None:
    """What a run reports: at least one Recall."""
    listed = isinstance(sides, Sequence) and len(sides) > 0
    fits = listed and all(isinstance(side, Recall) for side in sides)
    wants = "to report a list of Recall, at least one"
    require(fits, "run", f"one that reports {shown(sides)}", wants, TypeError)
