"""The fine-tuning comparator: stored runs of several methods, to choose from and to read with their
intervals."""

import threading
from collections.abc import Callable, Iterable, Mapping

import anywidget
import pandas as pd
import traitlets

from moe_lib.errors import require
from moe_lib.tuning.comparison.results import Comparison
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.background import BackgroundCall
from moe_lib.views.kit.page_messages import Form, MessageWidget, one_of, several, text, whole
from moe_lib.views.kit.static_display import StaticDisplay
from moe_lib.views.tuning_comparator.payload import comparator_view, curve_names, known_numbers
from moe_lib.views.tuning_comparator.run_now import stored_methods, with_runs
from moe_lib.views.tuning_comparator.words import comparator_words

_ENDS = {"failed": "The run failed.", "stopped": "Stopped.", "finished": "The run has finished."}


class TuningComparator(MessageWidget, StaticDisplay, anywidget.AnyWidget):
    """Choose a task, methods and a number of labels; see quality with intervals, cost, forgetting,
    gap, and curves.

        TuningComparator({"intents": load_comparison(path), "sentiment": load_comparison(other)})

        def run(task, methods, n_train, report):  # "Run it now" calls it, in a thread of its own
            plan = dict(n_train=n_train, settings=PLAN)
            cases = [Case(name, "mini-v2", METHODS[name], **plan) for name in methods]
            return compare(cases, TASKS[task], seeds=(9,), callback=report)
        TuningComparator(comparisons, run=run)

    comparisons  {name of a task: Comparison}
    run          (task, methods, n_train, report) -> Comparison; `report` is a callback for
                 `compare`: it shows the progress, and returns True once the reader has pressed
                 Stop. What comes back is shown beside the stored runs, its cases named "… (run
                 now)". None: no such button

    For code, assign to: task, methods (list of case names), n_train, curve (a column of `curves`,
    e.g. "loss");
               or call start(), stop(), wait()
    To read:   comparison (of the task, with what was run), table (a DataFrame of what is shown),
    state ("ready",
               "running", "finished", "stopped", "failed"), summary (in words)

    Raises TypeError or ValueError naming the argument.
    """

    _esm = script("tuning_comparator")
    _css = style("tuning_comparator")
    FORMS = (
        Form(
            "_choose",
            may={"task": text, "methods": several(text), "n_train": whole(1), "curve": text},
        ),
        Form("_press", needs={"act": one_of("run", "stop")}),
    )
    KEPT = ("_task", "_methods", "_n_train", "_curve")
    TELLS = ("run", "status", "progress")
    view = traitlets.Dict().tag(sync=True)  # all that is drawn; tuning_comparator.js only reads it
    _call: BackgroundCall | None = None

    def __init__(
        self, comparisons: Mapping[str, Comparison], run: Callable[..., Comparison] | None = None
    ):
        require(
            isinstance(comparisons, Mapping) and len(comparisons) > 0,
            "comparisons",
            type(comparisons).__name__,
            "a dict of at least one Comparison by the name of its task",
            TypeError,
        )
        for name, one in comparisons.items():
            text("comparisons", name)
            fits = isinstance(one, Comparison) and len(one.runs) > 0
            require(
                fits,
                f"comparisons[{name!r}]",
                type(one).__name__,
                "a Comparison with runs",
                TypeError,
            )
        require(
            run is None or callable(run),
            "run",
            type(run).__name__,
            "a function, or None",
            TypeError,
        )
        self._comparisons, self._run = dict(comparisons), run
        self._status, self._progress = "", None
        self._lock = threading.RLock()  # the run's thread publishes too
        self._choose_task(next(iter(self._comparisons)))
        super().__init__(view=comparator_view(self))

    @property
    def comparison(self) -> Comparison:
        """All runs of the task that is chosen, those of "Run it now" among them."""
        return self._comparisons[self._task]

    @property
    def task(self) -> str:
        return self._task

    @task.setter
    def task(self, task: str) -> None:
        text("task", task)
        require(task in self._comparisons, "task", task, f"one of {', '.join(self._comparisons)}")
        self._choose_task(task)
        self._publish()

    @property
    def n_train(self) -> int:
        """Labelled examples of the runs on show."""
        return self._n_train

    @n_train.setter
    def n_train(self, n_train: int) -> None:
        whole(1)("n_train", n_train)
        require(n_train in self.sizes, "n_train", n_train, f"one of {self.sizes}")
        self._n_train = n_train
        self._publish()

    @property
    def sizes(self) -> list[int]:
        """The numbers of labelled examples that the task has runs for."""
        return sorted(int(n) for n in set(self.comparison.runs["n_train"]))

    @property
    def known_methods(self) -> list[str]:
        """The cases of the task, in their order."""
        return list(dict.fromkeys(self.comparison.runs["case"]))

    @property
    def methods(self) -> list[str]:
        """The cases on show."""
        return [name for name in self.known_methods if name in self._methods]

    @methods.setter
    def methods(self, methods: Iterable[str]) -> None:
        chosen = [methods] if isinstance(methods, str) else methods
        chosen = list(chosen) if isinstance(chosen, set | frozenset) else chosen
        several(text)("methods", chosen)
        known = len(chosen) > 0 and all(name in self.known_methods for name in chosen)
        require(known, "methods", chosen, f"at least one of {', '.join(self.known_methods)}")
        self._methods = set(chosen)
        self._publish()

    @property
    def curve(self) -> str:
        """The column of `curves` that is drawn."""
        return self._curve

    @curve.setter
    def curve(self, curve: str) -> None:
        text("curve", curve)
        known = curve_names(self.comparison)
        require(curve in known, "curve", curve, f"one of {', '.join(known)}")
        self._curve = curve
        self._publish()

    @property
    def problem(self) -> str:
        """What went wrong: with the last message, or with the last run."""
        return self._problem

    @property
    def table(self) -> pd.DataFrame:
        """The summary of what is shown: a row per case, means with intervals; see
        `Comparison.summary`."""
        return self.shown().summary()

    @property
    def state(self) -> str:
        return "ready" if self._call is None else self._call.state

    def start(self) -> None:
        """Run the methods on show now, in the background. RuntimeError without a `run`, or while
        one goes on."""
        if self.run is None:
            raise RuntimeError(
                "start: this comparator has only stored runs; give it a run=… function"
            )
        if self.state == "running":
            raise RuntimeError("start: a run is going on; stop() it, or wait() for its end")
        task, methods, n_train = (
            self.task,
            stored_methods(self.methods),
            self.n_train,
        )
        require(len(methods) > 0, "methods", self.methods, "at least one of the stored cases")
        self._problem, self._progress = "", {"words": "Starting …", "share": None}
        self._call = BackgroundCall(
            lambda report: self.run(task, methods, n_train, report),
            lambda call: self._follow(call, task),
        )
        self._call.start()

    def stop(self) -> None:
        """End the run after the step that is being computed; runs that were complete are kept."""
        if self._call is not None:
            self._call.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of what start() began -> whether it has ended; raises what the run
        raised."""
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
        words, warnings = comparator_words(self.task, self.shown())
        return " ".join(part for part in (self._problem, words, *warnings) if part)

    def figure(self):
        """What is shown, as a matplotlib figure."""
        from moe_lib.views.tuning_comparator.figure import (
            comparator_figure,  # matplotlib waits for a picture
        )

        return comparator_figure(
            self.task, self.comparison, self.shown(), self.known_methods, self.methods, self.curve
        )

    def shown(self) -> Comparison:
        """The part of the comparison that is chosen, NaN for what is infinite. A case without
        runs of this size has no row."""
        parts = []
        for frame in (self.comparison.runs, self.comparison.curves):
            if len(frame):
                kept = frame["case"].isin(self._methods) & (frame["n_train"] == self._n_train)
                frame = known_numbers(frame[kept])
            parts.append(frame)
        return Comparison(*parts, self.comparison.about)

    def _choose_task(self, task: str) -> None:
        """Another task: all its methods, its largest number of labels; what it shares with the old
        one stays."""
        old = getattr(self, "_methods", set())
        self._task = task
        kept = old & set(self.known_methods)
        self._methods = kept or set(self.known_methods)
        self._n_train = (
            self._n_train if getattr(self, "_n_train", None) in self.sizes else self.sizes[-1]
        )
        curves = curve_names(self.comparison)
        self._curve = (
            self._curve if getattr(self, "_curve", None) in curves else curves[0] if curves else ""
        )

    def _follow(self, call: BackgroundCall, task: str) -> None:
        """After a step (not after every one) and at the end, in the run's thread."""
        with self._lock:
            self._progress = call.progress if call.state == "running" else None
            if call.state == "failed":
                self._problem = f"The run failed: {type(call.error).__name__}: {call.error}"
            elif call.state in ("finished", "stopped"):
                self._take(call.result, task)
            self._status = _ENDS.get(call.state, "")
            self._publish()

    def _publish(self) -> None:
        with self._lock:  # no page sees half of a change
            self.view = comparator_view(self)

    def _take(self, result: Comparison | None, task: str) -> None:
        """Put runs made now beside the stored ones."""
        if result is None or not len(getattr(result, "runs", "something else")):
            return
        try:
            self._comparisons[task], cases = with_runs(self._comparisons[task], result)
        except (ValueError, TypeError) as error:  # in the run's thread: nobody to raise to
            self._problem = str(error)
            return
        if task == self._task:
            self._methods |= cases

    def _choose(self, **choices) -> None:
        """The page reports choices."""
        for name in ("task", "methods", "n_train", "curve"):
            if name in choices:
                setattr(self, name, choices[name])

    def _press(self, act: str) -> None:
        """The page reports a press. Nothing here waits for the run."""
        if act == "run":
            self.start()
        elif self._call is not None:
            self._call.stop(wait=False)
