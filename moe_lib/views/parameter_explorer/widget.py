"""The parameter explorer: what a Mixture-of-Experts model stores, computes with, and reads from
memory."""

import anywidget
import traitlets

from moe_lib.errors import require, require_one_of, require_whole
from moe_lib.published import ModelSizes, published, published_names
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.page_messages import Form, MessageWidget, fields, one_of, text, whole
from moe_lib.views.kit.static_display import StaticDisplay
from moe_lib.views.parameter_explorer.account import (
    BATCHES,
    CONTEXT,
    PRECISIONS,
    account_of,
    amount,
    operations,
    size_words,
)

SIZES = {  # field that moves -> label, values of its slider
    "num_experts_per_tok": ("Experts per token, k", tuple(range(1, 17))),
    "n_routed_experts": ("Routed experts, E", (1, 2, 4, 8, 16, 32, 64, 128, 160, 256, 512)),
    "moe_intermediate_size": (
        "Width of one expert",
        (128, 256, 512, 1024, 1408, 1536, 2048, 4096, 8192, 14_336),
    ),
    "n_shared_experts": ("Shared experts", tuple(range(0, 5))),
}


class ParameterExplorer(MessageWidget, StaticDisplay, anywidget.AnyWidget):
    """Choose a published model, move its sizes, and see total against active parameters, FLOPs and
    bytes.

    For code:  set(model="Mixtral 8x7B"), set(num_experts_per_tok=4, batch_size=64,
    precision="fp8"), reset() To read:   model, sizes (ModelSizes), batch_size, precision, account
    (ParameterAccount),
               changed (sizes that are no longer the published ones), summary (what is shown, in
               words)

    ValueError or TypeError names the argument that cannot be; nothing changes then.
    """

    _esm = script("settings", "parameter_explorer")
    _css = style("settings", "parameter_explorer")
    FORMS = (
        Form(
            "_follow",
            needs={
                "set": fields(
                    {
                        "model": text,
                        "precision": text,
                        "batch_size": whole(1),
                        **{name: whole() for name in SIZES},
                    }
                )
            },
        ),
        Form("_back", needs={"reset": one_of(True)}),
    )
    KEPT = ("_account", "_state")
    TELLS = ("account",)
    view = traitlets.Dict().tag(sync=True)  # all that is drawn; parameter_explorer.js only reads it

    def __init__(self, model: str = "DeepSeek-V2", batch_size: int = 1, precision: str = "bf16"):
        require_one_of("model", model, published_names(dense=True))
        self._state = (published(model).name, published(model).sizes, batch_size, precision)
        self._account = account_of(*self._state[1:])
        super().__init__(view=self._view())

    @property
    def model(self) -> str:
        return self._state[0]

    @model.setter
    def model(self, model: str) -> None:
        require(model is not None, "model", model, "a value", TypeError)
        self.set(model=model)

    @property
    def sizes(self) -> ModelSizes:
        return self._state[1]

    @property
    def batch_size(self) -> int:
        return self._state[2]

    @batch_size.setter
    def batch_size(self, batch_size: int) -> None:
        require(batch_size is not None, "batch_size", batch_size, "a value", TypeError)
        self.set(batch_size=batch_size)

    @property
    def precision(self) -> str:
        return self._state[3]

    @precision.setter
    def precision(self, precision: str) -> None:
        require(precision is not None, "precision", precision, "a value", TypeError)
        self.set(precision=precision)

    @property
    def changed(self) -> dict[str, int]:
        """Sizes that differ from the published ones -> their value now."""
        own = published(self.model).sizes
        return {
            name: getattr(self.sizes, name)
            for name in SIZES
            if getattr(self.sizes, name) != getattr(own, name)
        }

    def set(
        self,
        *,
        model: str | None = None,
        batch_size: int | None = None,
        precision: str | None = None,
        **sizes: int,
    ) -> None:
        """Change some settings. A new `model` starts from its published sizes; `sizes` are those of
        `SIZES`."""
        unknown = sorted(set(sizes) - set(SIZES))
        require(
            not unknown,
            "set",
            unknown,
            f"model, batch_size, precision, {', '.join(SIZES)}",
            TypeError,
        )
        if "n_routed_experts" in sizes:
            require_whole("n_routed_experts", sizes["n_routed_experts"])
        name = self.model if model is None else model
        require_one_of("model", name, published_names(dense=True))
        start = self.sizes if model is None else published(name).sizes
        batch_size = self.batch_size if batch_size is None else batch_size
        precision = self.precision if precision is None else precision
        new = start.replace(**sizes)
        self._account = account_of(new, batch_size, precision)
        self._state = (name, new, batch_size, precision)
        self.view = self._view()

    def reset(self) -> None:
        """Back to the published sizes of this model; batch size and precision stay."""
        self.set(model=self.model)

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        a, sizes, count = self.account, self.sizes, self.account.count
        name = self.model + (" with changed sizes" if self.changed else "")
        tokens = "1 token" if self.batch_size == 1 else f"{self.batch_size:,} tokens"
        return (
            f"{name}: {amount(count.total)} parameters are stored, {amount(count.active)} "
            "are active for one token "
            f"({count.active / count.total:.1%}); the input embedding, a look-up, is not "
            "counted as active. "
            f"{count.routed_experts / count.total:.1%} of all parameters are routed experts. "
            f"One token costs {operations(a.flops)} with {CONTEXT:,} positions in view; "
            f"with every expert on it would cost {operations(a.all_flops)}, "
            f"{a.all_flops / a.flops:.1f} times as much; "
            f"a dense model of equal active size costs {operations(a.dense_flops)}. "
            f"In {self.precision} the weights take {size_words(a.bytes_stored)}; those of "
            "the dense model "
            f"{size_words(a.dense_bytes_stored)}. A step over {tokens} touches {a.distinct:.1f} of "
            f"{sizes.n_routed_experts} experts in each layer on average, if all are equally "
            "likely, and reads "
            f"{size_words(a.bytes_read)} of weights, "
            f"{size_words(a.bytes_read / self.batch_size)} per token: "
            f"{a.bytes_read / a.dense_bytes_read:.1f} times what the dense model reads."
        )

    def figure(self):
        """What is shown, as a matplotlib figure."""
        from moe_lib.views.parameter_explorer.figure import (
            parameter_figure,  # matplotlib waits for a picture
        )

        return parameter_figure(self._title(), self.account, self.batch_size, self.precision)

    def _title(self) -> str:
        s, name = self.sizes, self.model + (" (changed)" if self.changed else "")
        experts = "1 expert" if s.n_routed_experts == 1 else f"{s.n_routed_experts} experts"
        return (
            f"{name}: {experts} of width {s.moe_intermediate_size:,}, "
            f"{s.num_experts_per_tok} chosen, " + (f"{s.n_shared_experts} shared")
        )

    def _view(self) -> dict:
        a = self.account
        controls = []
        for name, (label, values) in SIZES.items():
            own, now = getattr(published(self.model).sizes, name), getattr(self.sizes, name)
            allowed = {
                v
                for v in (*values, own)
                if name != "num_experts_per_tok" or v <= self.sizes.n_routed_experts
            }
            controls.append(
                {
                    "name": name,
                    "label": label,
                    "values": sorted({*allowed, now}),
                    "value": now,
                    "own": own,
                }
            )
        return {
            "models": published_names(),
            "model": self.model,
            "controls": controls,
            "changed": bool(self.changed),
            "batches": sorted({*BATCHES, self.batch_size}),
            "batch": self.batch_size,
            "precisions": list(PRECISIONS),
            "precision": self.precision,
            "title": self._title(),
            "parts": [
                {
                    "name": part,
                    "stored": a.stored[part],
                    "used": a.used[part],
                    "stored_words": amount(a.stored[part]),
                    "used_words": amount(a.used[part]),
                }
                for part in a.stored
            ],
            "total": {
                "stored": a.count.total,
                "used": a.count.active,
                "stored_words": amount(a.count.total),
                "used_words": amount(a.count.active),
            },
            "dense": _bars(amount, [("dense, equal active", a.dense_total)])[0],
            "flops": _bars(
                operations,
                (
                    ("one token", a.flops),
                    ("dense, equal active", a.dense_flops),
                    ("every expert on", a.all_flops),
                ),
            ),
            "bytes": _bars(
                size_words,
                (
                    ("one step", a.bytes_read),
                    ("dense, equal active", a.dense_bytes_read),
                    ("all weights", a.bytes_stored),
                ),
            ),
            "curve": {
                "batches": list(BATCHES),
                "distinct": list(a.curve),
                "experts": self.sizes.n_routed_experts,
                "now": a.distinct,
            },
            "context": CONTEXT,
            "summary": self.summary,
            "problem": self._problem,
        }

    def _follow(self, set: dict) -> None:
        """The page reports moved controls."""
        changes = dict(set)
        experts = changes.get("n_routed_experts")
        if experts is not None and experts < self.sizes.num_experts_per_tok:
            # k follows E down: the page cannot ask first
            changes.setdefault("num_experts_per_tok", experts)
        self.set(**changes)

    def _back(self, reset: bool) -> None:
        self.reset()


def _bars(words, rows) -> list[dict]:
    return [{"name": name, "value": value, "words": words(value)} for name, value in rows]
