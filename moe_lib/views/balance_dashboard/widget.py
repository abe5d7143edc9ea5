"""The balance dashboard: a training run to watch, with hands on what balances its experts' load."""

import dataclasses
import threading
import time
from collections.abc import Iterable
from inspect import signature

import anywidget
import traitlets

from moe_lib.config import ModelConfig
from moe_lib.errors import is_whole, require
from moe_lib.training.cure_settings import Cure, cure_words
from moe_lib.training.live import FAILED, LiveTraining, fresh_model
from moe_lib.training.loop import StepReport, train
from moe_lib.training.recorder import BalanceRecorder
from moe_lib.views.balance_dashboard.dashboard_messages import DashboardMessages
from moe_lib.views.balance_dashboard.payload import MAX_RUNS, dashboard_view, step_rows
from moe_lib.views.balance_dashboard.words import balance_words, status_words
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.page_messages import number, several, whole
from moe_lib.views.kit.static_display import StaticDisplay

# What may be handed on to `train`: all but what the dashboard sets itself.
TRAIN_OPTIONS = set(signature(train).parameters) - {
    *("model", "batches", "steps", "learning_rate", "callback")
}
UPDATE_EVERY = 0.22  # seconds between two messages to the page


def _setting(name: str, words: str) -> property:
    """A field of the cure; setting it in mid-run reaches the training before its next step."""
    return property(
        lambda self: getattr(self._cure, name),
        lambda self, value: self._change(**{name: value}),
        doc=words,
    )


class BalanceDashboard(DashboardMessages, StaticDisplay, anywidget.AnyWidget):
    """Train models of one config, each with its cure against an uneven load; up to four runs side
    by side.

        dashboard = BalanceDashboard(config, batches, steps=100)
        dashboard.start()                       # no cure; goes on in the background
        dashboard.wait()
        dashboard.start("bias")
        dashboard.wait(step=50)
        dashboard.bias_update_speed = 0.1       # in mid-run: holds from the next step on

    config     a ModelConfig; router "biased_topk" offers every cure (with speed 0 its bias does
               nothing)
    batches, steps, learning_rate and further options   as for `moe_lib.train`
    seed       of the weights; all runs see the same batches in the same order
    cure, alpha, scope, bias_update_speed   see `moe_lib.training.cure_settings.Cure`. A bias that a
               run has built up stays when another cure is chosen; it only stops moving.

    runs       a BalanceRecorder per run, oldest first; `shown` are those on show
    training   the LiveTraining that was started last, None before the first
    summary    what is shown, in words

    Raises ValueError or TypeError naming the argument for settings that do not fit. A training that
    fails ends its run only: the page shows its error, wait() raises it.
    """

    _esm = script("balance_plots", "balance_dashboard")
    _css = style("balance_dashboard")
    view = traitlets.Dict().tag(
        sync=True
    )  # controls and words; the numbers of the steps travel as messages
    TELLS = ("config", "runs", "ends", "status", "training")
    _training: LiveTraining | None = None

    cure = _setting("kind", "what balances the load: none, auxiliary or bias")
    alpha = _setting("alpha", "factor of the auxiliary loss")
    scope = _setting("scope", "the auxiliary loss is taken per sequence or per batch")
    bias_update_speed = _setting("bias_update_speed", "how far the selection bias moves in a step")

    def __init__(
        self,
        config: ModelConfig,
        batches,
        *,
        steps: int = 200,
        learning_rate: float = 1e-2,
        seed: int = 0,
        cure: str = "none",
        alpha: float = 0.1,
        scope: str = "sequence",
        bias_update_speed: float = 0.03,
        **options,
    ):
        require(
            isinstance(config, ModelConfig),
            "config",
            type(config).__name__,
            "a ModelConfig",
            TypeError,
        )
        require(config.n_routed_experts > 0, "config", "a dense model", "a model with experts")
        require(
            callable(getattr(batches, "at", None)),
            "batches",
            type(batches).__name__,
            "batches with .at(step), e.g. moe_lib.text.Batches",
            TypeError,
        )
        whole(1)("steps", steps)
        number("learning_rate", learning_rate)
        require(learning_rate > 0, "learning_rate", learning_rate, "a number above 0")
        unknown = sorted(set(options) - TRAIN_OPTIONS)
        wants = f"some of {', '.join(sorted(TRAIN_OPTIONS))}"
        require(not unknown, "options", unknown, wants, TypeError)
        self._config, self._batches = config, batches
        self._options = {"steps": steps, "learning_rate": learning_rate, **options}
        self._cure = Cure(cure, alpha, scope, bias_update_speed)
        self._cure.fields(config)  # raises if they do not go together
        self.seed = seed
        self._runs, self._failure = [], ""
        self._hidden: set[str] = set()
        self._ends: dict[str, str] = {}  # how each run ended
        self._sent: tuple[str, int] = (
            "",
            0,
        )  # the run whose steps the page has, and how many of them
        self._status, self._last_update = "Nothing has been trained yet.", 0.0
        self._lock = threading.RLock()  # the training's thread publishes too
        super().__init__(view=dashboard_view(self))

    @property
    def seed(self) -> int:
        """Of the weights of the next run."""
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        whole()("seed", seed)
        self._seed = seed

    @property
    def state(self) -> str:
        """ "ready" before the first run; then that of the last one: running, paused, finished,
        stopped or failed."""
        return self.training.state if self.training else "ready"

    @property
    def shown(self) -> list[BalanceRecorder]:
        return [run for run in self.runs if run.name not in self._hidden]

    def start(self, cure: str | None = None) -> None:
        """Train a fresh model in the background, with another cure if one is named.

        RuntimeError while another run is going on.
        """
        if self.alive:
            raise RuntimeError(
                f"start: {self.runs[-1].name} is {self.state} at step "
                f"{self.training.steps_done} of "
                f"{self.training.steps}; stop() it, or wait() for its end"
            )
        if cure is not None:
            self._change(kind=cure)
        config = self.config.replace(**self._cure.fields(self.config))
        number = 1 + max((int(run.name.split()[1]) for run in self.runs), default=0)
        layers = range(config.first_k_dense_replace, config.num_hidden_layers)
        run = BalanceRecorder(f"run {number}", layers, self._options["steps"])
        training = LiveTraining(
            fresh_model(config, self.seed),
            self._batches,
            callback=lambda report: self._record(run, report),
            on_change=lambda: self._follow(run, training),
            **self._options,
        )
        self._problem = self._failure = ""
        self._training, self._runs = training, [*self.runs, run]
        self._hidden |= {old.name for old in self.shown[:-MAX_RUNS]}
        training.start()

    def pause(self) -> None:
        """Hold the run after the step that is being computed."""
        if self.training:
            self.training.pause()

    def resume(self) -> None:
        """Go on after a pause."""
        if self.training:
            self.training.resume()

    def stop(self) -> None:
        """End the run; what it has recorded stays."""
        if self.training:
            self.training.stop()

    def wait(self, timeout: float | None = None, step: int | None = None) -> bool:
        """Wait for the end of the run, or until it has done `step` steps; see
        `LiveTraining.wait`."""
        if self.training is None:
            raise RuntimeError("wait: nothing has been started")
        return self.training.wait(timeout, step)

    def close(self) -> None:
        """End the run and take the widget off the page."""
        self.stop()
        super().close()

    def show_runs(self, places: Iterable[int]) -> None:
        """Show these runs beside each other, one to four of them, by their places in `runs`."""
        chosen = list(places) if isinstance(places, range | set) else places
        several(whole())("places", chosen)
        known = all(place < len(self.runs) for place in chosen)
        require(
            known and 1 <= len(set(chosen)) == len(chosen) <= MAX_RUNS,
            "places",
            chosen,
            f"1 to {MAX_RUNS} places from 0 to {len(self.runs) - 1}, each once",
        )
        self._hidden = {run.name for place, run in enumerate(self.runs) if place not in chosen}
        self._publish(every_row=True)

    def forget(self, place: int) -> None:
        """Throw a run away. ValueError for a place that `runs` does not have, or the run that is
        going on."""
        known = is_whole(place) and 0 <= place < len(self.runs)
        require(known, "place", place, f"a place from 0 to {len(self.runs) - 1}")
        require(
            not (self.alive and place == len(self.runs) - 1),
            "place",
            place,
            "a run that has ended",
        )
        self._runs = [run for at, run in enumerate(self.runs) if at != place]
        self._publish(every_row=True)

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        return " ".join(part for part in (self.problem, balance_words(self.shown)) if part)

    @property
    def problem(self) -> str:
        """What went wrong: with the last message, else with the last run."""
        return self._problem or self._failure

    def figure(self):
        """The runs on show, as a matplotlib figure."""
        from moe_lib.views.balance_dashboard.figure import (
            balance_figure,  # matplotlib waits for a picture
        )

        return balance_figure(self.shown or BalanceRecorder("no run"))

    @property
    def alive(self) -> bool:
        """Whether a run has begun and not ended; it may be paused."""
        return self.training is not None and self.training.alive

    def _change(self, **settings) -> None:
        cure = dataclasses.replace(self._cure, **settings)
        fields = cure.fields(self.config)  # raises before anything is changed
        self._cure = cure
        if self.alive:
            self.training.change(**fields)
            self._status = (
                f"{self.runs[-1].name.capitalize()}: {cure_words(fields)} from the next step on."
            )
        self._publish()

    def _record(self, run: BalanceRecorder, report: StepReport) -> None:
        """After each step, in the training's thread: to the page go a few messages a second,
        however fast it trains."""
        run(report)
        if time.monotonic() - self._last_update >= UPDATE_EVERY:
            self._publish()

    def _follow(self, run: BalanceRecorder, training: LiveTraining) -> None:
        """After each change of the training's state, in its thread or the reader's."""
        self._status = status_words(run, training.state, training.steps_done, training.steps)
        if training.state == FAILED:
            error = training.error
            self._failure = f"{self.status[:-1]}: {type(error).__name__}: {error}"
        if not training.alive:
            self.ends[run.name] = training.state
        self._publish()

    def _publish(self, every_row: bool = False) -> None:
        """Bring the page up to date: the view, and the steps that it does not have yet."""
        with self._lock:
            self._last_update = time.monotonic()
            last = self.runs[-1] if self.runs else None
            fresh = [last] if last in self.shown else []
            for run in self.shown if every_row else fresh:
                start = self._sent[1] if self._sent[0] == run.name and not every_row else 0
                rows = step_rows(run, start)
                if run is last:
                    self._sent = (run.name, start + len(rows))
                if rows or every_row:
                    self.send({"run": run.name, "start": start, "rows": rows})
            self.view = dashboard_view(self)
