"""A training run in a thread of its own: it can be paused, changed and stopped while it runs."""

import atexit
import dataclasses
import threading

import torch
from torch import nn

from moe_lib.config import BALANCE, ModelConfig
from moe_lib.errors import require, require_takes
from moe_lib.model import LanguageModel
from moe_lib.training.loop import StepReport, TrainingRun, train
from moe_lib.training.preflight import require_batches
from moe_lib.validation import Callback, Count, Natural, NonNegative, Seed, checked

READY, RUNNING, PAUSED, FINISHED, STOPPED, FAILED = (
    "ready",
    "running",
    "paused",
    "finished",
    "stopped",
    "failed",
)
_GO, _HOLD, _END = "go", "hold", "end"  # what the reader wants; the training looks after every step

# Fields of the config that the model and `train` read anew at every step.
CHANGEABLE = (*BALANCE, "seq_aux")


class LiveTraining:
    """`train(model, batches, …)` in the background.

        live = LiveTraining(model, batches, steps=200)
        live.start()
        live.wait(step=50)                   # until 50 steps are done
        live.change(aux_loss_alpha=0.1)      # holds from the next step on
        live.wait()                          # until the end; raises what the training raised

    callback   called in the training's thread after each step with a StepReport, whose row also
               tells the CHANGEABLE settings of that step; returning True stops the run
    on_change  called with no argument after every change of `state`
    options    as for `train`; without a progress bar unless progress=True

    state      "ready", "running", "paused", "finished", "stopped" or "failed"
    error      what ended a failed run
    result     the TrainingRun of a run that finished or was stopped

    Without any change the weights are exactly those of a plain `train`, as long as nothing else
    draws random numbers meanwhile. The thread ends with the run, with stop(), and when Python
    exits.
    """

    @checked
    def __init__(
        self,
        model: nn.Module,
        batches,
        *,
        steps: Count,
        callback: Callback = None,
        on_change: Callback = None,
        **options,
    ):
        require(
            hasattr(model, "config") and isinstance(model, nn.Module),
            "model",
            type(model).__name__,
            "a moe_lib LanguageModel",
            TypeError,
        )
        require_batches(batches, model)
        require_takes("callback", callback, "a StepReport")
        require_takes("on_change", on_change)
        self.model, self.steps = model, steps
        self.state, self.steps_done = READY, 0
        self.error: BaseException | None = None
        self.result: TrainingRun | None = None
        self._batches, self._options = batches, {"progress": False, **options}
        self._callback, self._on_change = callback, on_change
        self._wanted = model.config
        self._wish = _GO
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the training has begun and not ended; it may be paused."""
        return self.state in (RUNNING, PAUSED)

    def start(self) -> None:
        """Begin. RuntimeError if the run has begun before: a run has one beginning."""
        with self._changed:
            if self.state != READY:
                raise RuntimeError(
                    f"start: this run is {self.state} after {self.steps_done} of "
                    f"{self.steps} steps; "
                    "a run starts once, make a new LiveTraining for another one"
                )
            self.state, self.model.config = RUNNING, self._wanted
            self._thread = threading.Thread(target=self._run, name="moe_lib training", daemon=True)
            atexit.register(
                self.stop
            )  # a daemon thread inside torch must not outlive the interpreter
            self._thread.start()
        self._tell()

    def pause(self, wait: bool = True) -> None:
        """Hold after the step that is being computed; with `wait`, return when it is done."""
        with self._changed:
            if self.state != RUNNING:
                return
            self._wish = _HOLD
            if wait and not self._inside():
                self._changed.wait_for(lambda: self.state != RUNNING)

    def resume(self) -> None:
        """Go on after a pause."""
        with self._changed:
            if self._wish != _HOLD:
                return
            self._go_on(_GO)
        self._tell()

    def stop(self, wait: bool = True) -> None:
        """End the run after the step that is being computed; with `wait`, return when its thread
        has ended."""
        with self._changed:
            if self.alive:
                self._go_on(_END)
        if wait and self._thread is not None and not self._inside():
            self._thread.join()

    @checked
    def wait(self, timeout: NonNegative | None = None, step: Natural | None = None) -> bool:
        """Wait until the run has ended, or `step` steps are done -> whether that is so.

        It is not so after `timeout` seconds without it, or when somebody pauses the run. Raises
        what the training raised, and RuntimeError for a run that has not begun or is paused: it
        would not end.
        """
        if self.state in (READY, PAUSED):
            raise RuntimeError(f"wait: this run is {self.state}; start() or resume() it first")

        def there() -> bool:
            return not self.alive or (step is not None and self.steps_done >= step)

        with self._changed:
            self._changed.wait_for(lambda: there() or self.state == PAUSED, timeout)
            done = there()
        if not self.alive:
            self._thread.join()
        if self.error is not None:
            raise self.error
        return done

    def change(self, **settings) -> None:
        """Other values for fields of the model's config, from the next step on.

        Raises ValueError for a field that is not one of CHANGEABLE, or for a value that ModelConfig
        refuses.
        """
        known = [name for name in CHANGEABLE if hasattr(self._wanted, name)]
        for name in settings:
            require(name in known, "settings", name, f"one of {', '.join(known)}")
        with self._changed:
            self._wanted = self._wanted.replace(**settings)
            if self.state == READY:
                self.model.config = self._wanted

    @property
    def settings(self) -> dict:
        """The CHANGEABLE settings as they are wanted now; `model.config` has those of the step
        being computed."""
        return changeable(self._wanted)

    def _inside(self) -> bool:
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        try:
            self.result = train(
                self.model,
                self._batches,
                steps=self.steps,
                callback=self._after_step,
                **self._options,
            )
            end = STOPPED if self.result.interrupted else FINISHED
        except (
            BaseException
        ) as error:  # a thread has nobody to raise to: kept for wait() and for the reader
            self.error, end = error, FAILED
        atexit.unregister(self.stop)
        with self._changed:
            self.state = end
            self._changed.notify_all()
        self._tell()

    def _after_step(self, report: StepReport) -> bool:
        row = {**report.row, **changeable(self.model.config)}
        enough = self._callback is not None and bool(
            self._callback(dataclasses.replace(report, row=row))
        )
        with self._changed:
            self.steps_done = report.row["step"] + 1
            self._changed.notify_all()
        while self._wish == _HOLD:
            self._hold()
        with self._changed:
            self.model.config = self._wanted  # between two steps: no step sees half of a change
        return enough or self._wish == _END

    def _hold(self) -> None:
        with self._changed:
            if self._wish != _HOLD:
                return
            self.state = PAUSED
            self._changed.notify_all()
        self._tell()
        with self._changed:
            self._changed.wait_for(lambda: self.state != PAUSED)

    def _go_on(self, wish: str) -> None:
        """With the lock held: a training that holds goes on, to train or to end."""
        self._wish = wish
        self.state = RUNNING if self.state == PAUSED else self.state
        self._changed.notify_all()

    def _tell(self) -> None:
        if self._on_change is not None:  # never with the lock held: the listener may ask back
            self._on_change()


@checked
def changeable(config: ModelConfig) -> dict:
    """The settings of a config that a running training reads anew at every step."""
    return {name: getattr(config, name) for name in CHANGEABLE if hasattr(config, name)}


@checked
def fresh_model(config: ModelConfig, seed: Seed) -> LanguageModel:
    """A model with the weights of this seed; the random numbers outside go on as if nothing had
    been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LanguageModel(config)
