"""The expert-cache player: slots, policy and guesses, played token by token over a trace."""

from collections.abc import Mapping

import anywidget
import traitlets
from torch import Tensor

from moe_lib.errors import require, require_one_of, require_whole
from moe_lib.tracing.expert_cache import POLICIES
from moe_lib.tracing.token_labels import token_label
from moe_lib.tracing.trace import RoutingTrace
from moe_lib.validation import Count, Decoder, checked
from moe_lib.views.expert_cache.course_of_cache import first_tokens, play, slot_states
from moe_lib.views.expert_cache.words import POLICIES as POLICY_WORDS
from moe_lib.views.expert_cache.words import load_words, rate_words, token_words
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.page_messages import Form, MessageWidget, text, whole
from moe_lib.views.kit.static_display import StaticDisplay
from moe_lib.views.kit.wording import percent

NO_GUESS = "none"
STRIP = 24  # tokens on show, the last of them the present one
POINTS = 120  # of a curve at most
CURVES = {"own": "this cache", "shuffled": "tokens shuffled", "belady": "Belady"}


class ExpertCachePlayer(MessageWidget, StaticDisplay, anywidget.AnyWidget):
    """Choose how many experts fit and who makes room; step or play through a text and watch hits
    and misses.

        ExpertCachePlayer(trace, num_slots=4, tokenizer=tokenizer)

    trace       the routing of a model; its first `max_tokens` real tokens are played
    layer       number of the layer to begin with; None: the first with experts
    num_slots   experts that fit; None: a quarter of them, and at least those of a token
    policy      "lru", "lfu", "static", "belady" (`moe_lib.tracing.expert_cache`)
    guesses     {name: {layer number: (tokens, m) experts}}, as `guess_experts` gives them, to be
                chosen as prefetch by their names; for "lru" and "lfu"
    fitted_on   a trace of other text for the static set; None: the trace itself
    tokenizer   to name the tokens

    For code:  set(layer=2, num_slots=8, policy="lfu", prefetch="transition", token=10)
    To read:   layer, num_slots, policy, prefetch, token (1 is the first), tokens, rates (hit rate
               so far: {"own", "shuffled", "belady"}), summary

    ValueError or TypeError names the argument that cannot be; nothing changes then.
    """

    _esm = script("settings", "expert_cache")
    _css = style("settings", "expert_cache")
    FORMS = (
        Form("_follow", needs={"token": whole(1)}),
        Form("_follow", needs={"layer": whole()}),
        Form("_follow", needs={"num_slots": whole(1)}),
        Form("_follow", needs={"policy": text}),
        Form("_follow", needs={"prefetch": text}),
    )
    SETS = ("layer", "num_slots", "policy", "prefetch", "token")
    KEPT = ("_layer", "_num_slots", "_policy", "_prefetch", "_token", "_course")
    view = traitlets.Dict().tag(sync=True)  # all that is drawn; expert_cache.js only reads it

    @checked
    def __init__(
        self,
        trace: RoutingTrace,
        *,
        layer: int | None = None,
        num_slots: Count | None = None,
        policy: str = "lru",
        guesses: Mapping[str, Mapping[int, Tensor]] | None = None,
        fitted_on: RoutingTrace | None = None,
        tokenizer: Decoder | None = None,
        max_tokens: Count = 400,
    ):
        require(bool(trace.layers), "trace", "no layers", "at least one layer with experts")
        require(bool(trace.real.any()), "trace", "no real token", "at least one")
        self._trace, self._fitted_on = first_tokens(trace, max_tokens), fitted_on
        self._guesses = {NO_GUESS: None, **(guesses or {})}
        self._words = _token_words(self._trace, tokenizer)
        first = trace.layers[0]
        self._layer, self._prefetch, self._policy = first.index, NO_GUESS, "lru"
        self._token, self._course = 1, None
        k = first.experts.shape[-1]
        self._num_slots = max(k, first.n_experts // 4)
        self.set(layer=layer, num_slots=num_slots, policy=policy)
        super().__init__(view=self._view())

    def set(
        self,
        *,
        layer: int | None = None,
        num_slots: int | None = None,
        policy: str | None = None,
        prefetch: str | None = None,
        token: int | None = None,
    ) -> None:
        """Change what is given. Another cache is replayed from the start, at the same token."""
        for name, given in (("layer", layer), ("num_slots", num_slots), ("token", token)):
            require_whole(name, 1 if given is None else given, at_least=name != "layer")
        new_policy = self._policy if policy is None else policy
        require_one_of("policy", new_policy, POLICIES)
        new_prefetch = self._prefetch if prefetch is None else prefetch
        require_one_of("prefetch", new_prefetch, self._guesses)
        if new_policy not in ("lru", "lfu"):
            wants = f"{NO_GUESS} with {new_policy!r}"
            require(prefetch in (None, NO_GUESS), "prefetch", prefetch, wants)
            new_prefetch = NO_GUESS
        new = (
            self._layer if layer is None else layer,
            self._num_slots if num_slots is None else num_slots,
        )
        there = self._trace.layer(new[0])
        k, n_experts = there.experts.shape[-1], there.n_experts
        require(k <= new[1] <= n_experts, "num_slots", new[1], f"from {k} to {n_experts}")
        chosen = (*new, new_policy, new_prefetch)
        course = self._course
        if course is None or chosen != self._chosen:
            course = play(*self._played(*chosen))
        last = len(course.events)
        require(token is None or token <= last, "token", token, f"at most {last}")
        self._layer, self._num_slots, self._policy, self._prefetch = chosen
        self._course = course
        self._token = min(self._token, last) if token is None else token
        if self._made:
            self.view = self._view()

    @property
    def tokens(self) -> int:
        """Tokens that can be played."""
        return len(self._course.events)

    @property
    def rates(self) -> dict[str, float]:
        """The hit rate up to the present token: of this cache and of what it is compared with."""
        return {name: curve[self._token - 1] for name, curve in self._curves().items()}

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        place = self._token - 1
        word = self._words[place] if self._words else None
        cache = (
            f"A cache of {self._num_slots} of {self._n_experts} experts in layer {self._layer}, "
            f"policy {POLICY_WORDS[self._policy]}; prefetch: {self._prefetch}."
        )
        event = self._course.events[place]
        happened = token_words(event, self._token, self.tokens, word)
        rates = rate_words(self._course, place, self._policy)
        return " ".join((cache, happened, rates, load_words(self._course)))

    def figure(self):
        """What is shown, as a matplotlib figure."""
        from moe_lib.views.expert_cache.figure import cache_figure

        return cache_figure(self.view, self._curves())

    @property
    def _chosen(self) -> tuple:
        return self._layer, self._num_slots, self._policy, self._prefetch

    @property
    def _n_experts(self) -> int:
        return self._trace.layer(self._layer).n_experts

    def _played(self, layer: int, num_slots: int, policy: str, prefetch: str) -> tuple:
        return self._trace, layer, num_slots, policy, self._guesses[prefetch], self._fitted_on

    def _curves(self) -> dict[str, list[float]]:
        one = self._course
        return {"own": one.rates, "shuffled": one.shuffled, "belady": one.belady}

    def _follow(self, **choice) -> None:
        """The page reports a choice."""
        self.set(**choice)

    def _view(self) -> dict:
        place, events = self._token - 1, self._course.events
        event, least = events[place], self._trace.layer(self._layer).experts.shape[-1]
        sizes = {least, 2 * least, self._num_slots, self._n_experts}
        sizes |= {self._n_experts // part for part in (8, 4, 2)}
        start = max(0, self._token - STRIP)
        return {
            "layers": [layer.index for layer in self._trace.layers],
            "layer": self._layer,
            "sizes": sorted(size for size in sizes if least <= size <= self._n_experts),
            "num_slots": self._num_slots,
            "policies": [{"name": name, "words": POLICY_WORDS[name]} for name in POLICIES],
            "policy": self._policy,
            "prefetches": list(self._guesses),
            "prefetch": self._prefetch,
            "can_guess": self._policy in ("lru", "lfu"),
            "token": self._token,
            "tokens": self.tokens,
            "needed": [{"expert": e, "hit": e in event.hits} for e in event.experts],
            "evicted": list(event.evicted),
            "slots": slot_states(self._course, place),
            "strip": [self._strip(number) for number in range(start, self._token)],
            "rates": [
                {"name": name, "words": CURVES[name], "rate": percent(curve[place])}
                for name, curve in self._curves().items()
            ],
            "curves": {name: _points(curve) for name, curve in self._curves().items()},
            "summary": self.summary,
            "problem": self._problem,
        }

    def _strip(self, place: int) -> dict:
        event = self._course.events[place]
        word = self._words[place] if self._words else str(place + 1)
        return {"word": word, "hits": len(event.hits), "misses": len(event.misses)}


def _points(curve: list[float]) -> list[list[float]]:
    """[[share of the tokens, hit rate], …], thinned out."""
    step = max(1, len(curve) // POINTS)
    places = sorted({*range(0, len(curve), step), len(curve) - 1})
    return [[round((place + 1) / len(curve), 4), round(curve[place], 4)] for place in places]


def _token_words(trace: RoutingTrace, tokenizer: Decoder | None) -> list[str]:
    """Every real token as a visible string; none without a tokenizer, or without token ids."""
    ids = trace.input_ids[trace.real].tolist()
    if tokenizer is None or min(ids) < 0:
        return []
    return [token_label(tokenizer, one) for one in ids]
