"""The cache calculator: what generation keeps in memory with MHA, GQA, MQA and MLA, at the sizes of
real models."""

import anywidget
import traitlets

from moe_lib.errors import require, require_one_of
from moe_lib.published import published, published_names
from moe_lib.views.cache_calculator.account import (
    GB,
    KINDS,
    PRECISIONS,
    cache_account,
    cache_sizes_of,
    kind_of,
)
from moe_lib.views.cache_calculator.scale import LogScale
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.page_messages import Form, MessageWidget, fields, one_of, text, whole
from moe_lib.views.kit.static_display import StaticDisplay
from moe_lib.views.parameter_explorer.account import size_words

SIZES = {  # field of CacheSizes -> label, values of its slider
    "num_hidden_layers": ("Layers", (1, 2, 4, 8, 12, 16, 24, 32, 40, 48, 60, 64, 80, 96, 128)),
    "num_attention_heads": ("Heads", (1, 2, 4, 8, 16, 32, 64, 128, 256)),
    "head_dim": ("Numbers per head", (8, 16, 32, 64, 128, 256)),
    "num_key_value_heads": ("Groups of the GQA", (1, 2, 4, 8, 16, 32, 64, 128, 256)),
    "kv_lora_rank": ("Latent of the MLA", (16, 32, 64, 128, 256, 512, 1024, 2048)),
    "qk_rope_head_dim": ("Rotary key of the MLA", (2, 4, 8, 16, 32, 64, 128)),
}
SETTINGS = {  # setting -> label, values of its slider
    "context": ("Tokens per sequence", tuple(2**n for n in range(8, 21))),
    "batch_size": ("Sequences at once", tuple(2**n for n in range(11))),
    "memory": ("Memory for the cache, GB", (8, 16, 24, 40, 48, 80, 96, 141, 192, 320, 640)),
}


class CacheCalculator(MessageWidget, StaticDisplay, anywidget.AnyWidget):
    """Choose a published model, or sizes of your own, and compare its cache under four kinds of
    attention.

    For code:  set(model="DeepSeek-V3"), set(kind="GQA", num_key_value_heads=4), set(context=131072,
    batch_size=16,
               precision="fp8", memory=80), reset()
    To read:   model, kind (the one that the words are about), own_kind (the published model's),
    sizes (CacheSizes),
               context, batch_size, precision, memory (GB of 10^9 bytes), account (CacheAccount),
               changed, summary

    ValueError or TypeError names the argument that cannot be; nothing changes then.
    """

    _esm = script("settings", "cache_calculator")
    _css = style("settings", "cache_calculator")
    FORMS = (
        Form(
            "_follow",
            needs={
                "set": fields(
                    {
                        **{name: text for name in ("model", "kind", "precision")},
                        **{name: whole(1) for name in (*SETTINGS, *SIZES)},
                    }
                )
            },
        ),
        Form("_back", needs={"reset": one_of(True)}),
    )
    SETS = ("model", "kind", "context", "batch_size", "precision", "memory")
    TELLS = ("sizes", "account")
    KEPT = tuple(f"_{name}" for name in (*SETS, *TELLS))
    view = traitlets.Dict().tag(sync=True)  # all that is drawn; cache_calculator.js only reads it

    def __init__(
        self,
        model: str = "DeepSeek-V2",
        context: int = 32_768,
        batch_size: int = 1,
        precision: str = "bf16",
        memory: int = 80,
    ):
        require_one_of("model", model, published_names(dense=True))
        sizes = published(model).sizes
        self._model, self._kind, self._sizes = model, kind_of(sizes), cache_sizes_of(sizes)
        self._account = cache_account(self.sizes, context, batch_size, precision, memory)
        self._context, self._batch_size = context, batch_size
        self._precision, self._memory = precision, memory
        super().__init__(view=self._view())

    @property
    def own_kind(self) -> str:
        return kind_of(published(self.model).sizes)

    @property
    def changed(self) -> dict[str, int]:
        """Sizes that differ from the model's -> their value now."""
        own = cache_sizes_of(published(self.model).sizes)
        return {
            name: getattr(self.sizes, name)
            for name in SIZES
            if getattr(self.sizes, name) != getattr(own, name)
        }

    def set(
        self,
        *,
        model: str | None = None,
        kind: str | None = None,
        context: int | None = None,
        batch_size: int | None = None,
        precision: str | None = None,
        memory: int | None = None,
        **sizes: int,
    ) -> None:
        """Change some settings. A new `model` starts from its own sizes and kind; `sizes` are those
        of `SIZES`."""
        unknown = sorted(set(sizes) - set(SIZES))
        require(
            not unknown,
            "set",
            unknown,
            f"model, kind, {', '.join((*SETTINGS, 'precision', *SIZES))}",
            TypeError,
        )
        start, own = self.sizes, self.kind
        if model is not None:
            require_one_of("model", model, published_names(dense=True))
            start, own = cache_sizes_of(published(model).sizes), kind_of(published(model).sizes)
        kind = own if kind is None else kind
        require(kind in KINDS, "kind", kind, f"one of {', '.join(KINDS)}")
        new = start.replace(**sizes)
        given = {
            "context": context,
            "batch_size": batch_size,
            "precision": precision,
            "memory": memory,
        }
        settings = {
            name: getattr(self, name) if value is None else value for name, value in given.items()
        }
        self._account = cache_account(
            new, **settings
        )  # refuses what cannot be, before anything changes
        self._model, self._kind, self._sizes = self.model if model is None else model, kind, new
        for name, value in settings.items():
            setattr(self, f"_{name}", value)
        self.view = self._view()

    def reset(self) -> None:
        """Back to the sizes and the kind of this model; the other settings stay."""
        self.set(model=self.model)

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        a, kind = self.account, self.kind
        others = [other for other in KINDS if other != kind]
        sequences = "1 sequence" if self.batch_size == 1 else f"{self.batch_size:,} sequences"
        fits = "it fits" if a.total_bytes[kind] <= self.memory * GB else "it does not fit"
        return (
            f"{self.model}{' (sizes changed)' if self.changed else ''} with {self._named(kind)}: "
            f"{a.per_layer[kind]:,} numbers per token and layer, "
            f"{size_words(a.token_bytes[kind])} per token in "
            f"{self.sizes.num_hidden_layers} layers at {self.precision}. A cache of "
            f"{sequences} of {self.context:,} "
            f"tokens takes {size_words(a.total_bytes[kind])}; {fits} into {self.memory} GB. "
            f"{_that_fit(a.fitting[kind])} at once. "
            + " ".join(
                f"{self._named(other)}: {size_words(a.token_bytes[other])} per token, "
                f"{size_words(a.total_bytes[other])} in total, {_that_fit(a.fitting[other])}."
                for other in others
            )
        )

    def figure(self):
        """What is shown, as a matplotlib figure."""
        from moe_lib.views.cache_calculator.figure import (
            cache_figure,  # matplotlib waits for a picture
        )

        return cache_figure(
            self._title(), self._rows(), self.memory * GB, self._headings(), self._scales()
        )

    def _named(self, kind: str) -> str:
        s = self.sizes
        detail = {
            "MHA": f" ({s.num_attention_heads} heads)",
            "GQA": f" ({s.num_key_value_heads} groups)",
            "MLA": f" ({s.kv_lora_rank} + {s.qk_rope_head_dim})",
        }
        return kind + detail.get(kind, "")

    def _title(self) -> str:
        s, name = self.sizes, self.model + (" (changed)" if self.changed else "")
        return (
            f"{name}: {s.num_hidden_layers} layers, {s.num_attention_heads} heads of "
            f"{s.head_dim} numbers"
        )

    def _headings(self) -> tuple[str, str, str]:
        sequences = "1 sequence" if self.batch_size == 1 else f"{self.batch_size:,} sequences"
        return (
            f"Bytes per token, all layers, {self.precision}",
            f"Cache of {sequences} × {self.context:,} tokens",
            f"Sequences of {self.context:,} tokens in {self.memory} GB",
        )

    def _scales(self) -> dict[str, LogScale]:
        """The scale of each group of bars; that of the totals holds the memory, too."""
        rows = self._rows()
        scales = {name: [row[name] for row in rows] for name in ("token", "total", "fitting")}
        scales["total"].append(self.memory * GB)
        return {name: LogScale.of(numbers) for name, numbers in scales.items()}

    def _rows(self) -> list[dict]:
        a = self.account
        return [
            {
                "kind": kind,
                "name": self._named(kind),
                "own": kind == self.own_kind,
                "chosen": kind == self.kind,
                "per_layer": a.per_layer[kind],
                "token": a.token_bytes[kind],
                "token_words": size_words(a.token_bytes[kind]),
                "total": a.total_bytes[kind],
                "total_words": size_words(a.total_bytes[kind]),
                "fitting": a.fitting[kind],
                "fitting_words": f"{a.fitting[kind]:,}",
            }
            for kind in KINDS
        ]

    def _view(self) -> dict:
        own = cache_sizes_of(published(self.model).sizes)
        controls = [self._control(name, *SETTINGS[name], getattr(self, name)) for name in SETTINGS]
        for name, (label, values) in SIZES.items():
            now, published_value = getattr(self.sizes, name), getattr(own, name)
            allowed = [
                v
                for v in (*values, published_value)
                if name != "num_key_value_heads" or self.sizes.num_attention_heads % v == 0
            ]
            controls.append(self._control(name, label, allowed, now) | {"own": published_value})
        return {
            "models": published_names(dense=True),
            "model": self.model,
            "kinds": list(KINDS),
            "kind": self.kind,
            "precisions": list(PRECISIONS),
            "precision": self.precision,
            "controls": controls,
            "changed": bool(self.changed) or self.kind != self.own_kind,
            "title": self._title(),
            "headings": list(self._headings()),
            "rows": self._rows(),
            "memory": self.memory * GB,
            "memory_words": f"{self.memory} GB",
            "scales": {
                field: {
                    "places": [scale.place(row[field]) for row in self._rows()],
                    "ticks": [scale.place(tick) for tick in scale.ticks],
                    "limit": scale.place(self.memory * GB) if field == "total" else None,
                }
                for field, scale in self._scales().items()
            },
            "summary": self.summary,
            "problem": self._problem,
        }

    @staticmethod
    def _control(name: str, label: str, values, now: int) -> dict:
        return {"name": name, "label": label, "values": sorted({*values, now}), "value": now}

    def _follow(self, set: dict) -> None:
        """The page reports moved controls."""
        changes = dict(set)
        heads, groups = changes.get("num_attention_heads"), self.sizes.num_key_value_heads
        if heads is not None and heads % groups:
            # groups follow the heads: the page cannot ask first
            changes.setdefault("num_key_value_heads", heads)
        self.set(**changes)

    def _back(self, reset: bool) -> None:
        self.reset()


def _that_fit(number: int) -> str:
    return {0: "no sequence fits", 1: "1 sequence fits"}.get(number, f"{number:,} sequences fit")
