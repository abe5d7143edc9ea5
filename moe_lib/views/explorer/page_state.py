"""What a caller of the routing explorer may read and set."""

from typing import TYPE_CHECKING

from moe_lib.errors import is_whole, require
from moe_lib.tracing import Change, Comparison, Reading
from moe_lib.views.kit.page_messages import several, whole
from moe_lib.views.kit.wording import count

if TYPE_CHECKING:
    import pandas as pd


class ExplorerState:
    """Mixin of RoutingExplorer, which has the `_readings`, the `panel` and the controls, and reads
    again in `_read(**asked)`."""

    @property
    def reading(self) -> Reading:
        return self._readings.reading

    @property
    def baseline(self) -> Reading:
        return self._readings.baseline

    @property
    def compared(self) -> Reading | None:
        return self._readings.compared

    @property
    def comparison(self) -> Comparison | None:
        return self._readings.comparison

    @property
    def k_note(self) -> str:
        """Why the number of experts per token cannot be changed; "" if it can."""
        return self._readings.k_note

    @property
    def text(self) -> str:
        return self._readings.text

    @text.setter
    def text(self, text: str) -> None:
        self._read(text=text)

    @property
    def compare_text(self) -> str | None:
        """The text to compare with; None: no comparison of texts."""
        return self._readings.other_text

    @compare_text.setter
    def compare_text(self, text: str | None) -> None:
        self._read(other_text=text)

    @property
    def max_tokens(self) -> int:
        """Longer texts are cut here. Set it to read with another limit."""
        return self._readings.max_tokens

    @max_tokens.setter
    def max_tokens(self, max_tokens: int) -> None:
        whole(1)("max_tokens", max_tokens)
        before, self._readings.max_tokens = self.max_tokens, max_tokens
        try:
            self._read()
        except BaseException:
            self._readings.max_tokens = before
            raise

    @property
    def layer(self) -> int:
        return self.panel.layer

    @layer.setter
    def layer(self, layer: int) -> None:
        known = [one.index for one in self.reading.trace.layers]
        wants = f"a layer with experts: {known}"
        require(is_whole(layer), "layer", layer, wants, TypeError)
        require(layer in known, "layer", layer, wants)
        self.layer_slider.value = layer

    @property
    def rank(self) -> int:
        return self.panel.rank

    @rank.setter
    def rank(self, rank: int) -> None:
        k = self._k(self.layer)
        require(
            is_whole(rank) and rank in range(1, k + 1),
            "rank",
            rank,
            f"1 to {k}: each token chooses {count(k, 'expert')}",
        )
        self.rank_buttons.value = rank

    @property
    def k(self) -> int:
        """Experts per token (num_experts_per_tok) in the chosen layer. Set it to read with another;
        None: as trained.

        Setting raises ValueError for a k out of range, or a model whose k cannot be changed.
        """
        return self.reading.k or self._readings.trained_k or self._k(self.layer)

    @k.setter
    def k(self, k: int | None) -> None:
        require(k is None or is_whole(k), "k", k, "a whole number, or None", TypeError)
        self._read(k=k)

    @property
    def off(self) -> dict[int, tuple[int, ...]]:
        """{layer: experts} that are switched off."""
        return self.reading.off

    @property
    def selected(self) -> dict[str, int | None]:
        """{"token": number or None, "expert": number or None}."""
        return {
            name: None if (value := getattr(self.panel, name)) < 0 else value
            for name in ("token", "expert")
        }

    @property
    def changes(self) -> "pd.DataFrame":
        """The predictions whose most probable token changed, one row each; empty while nothing is
        changed."""
        import pandas as pd  # waits until a table is wanted

        columns = list(Change.__dataclass_fields__)
        return pd.DataFrame([vars(change) for change in self._readings.changes], columns=columns)

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        return self.panel.summary

    def select_token(self, token: int | None, compared: bool = False) -> None:
        """Show one token's affinities; None shows none. `compared`: a token of the second reading.

        ValueError if the text has no such token, or there is no second reading.
        """
        require(
            not compared or self.compared is not None,
            "compared",
            True,
            "False: there is no second reading",
        )
        reading = self.compared if compared else self.reading
        known = token is None or (is_whole(token) and token in range(len(reading)))
        require(
            known,
            "token",
            token,
            f"None, or one of the text's {len(reading)} tokens, counted from 0",
        )
        with self.panel.hold_trait_notifications():
            self.panel.side, self.panel.token = int(compared), -1 if token is None else token

    def select_expert(self, expert: int | None) -> None:
        """Show the tokens that choose one expert of the layer; None shows none. ValueError if there
        is no such one."""
        experts = self.reading.trace.layer(self.layer).n_experts
        known = expert is None or (is_whole(expert) and expert in range(experts))
        require(known, "expert", expert, f"None, or 0 to {experts - 1}")
        self.panel.expert = -1 if expert is None else expert

    def switch_off(self, experts) -> None:
        """Switch these experts of the chosen layer off, all its others on; [] switches all of them
        on.

        The model reads the text again. Raises ValueError if there is no such expert or too few are
        left.
        """
        listed = list(experts) if isinstance(experts, range | set | frozenset) else experts
        several(whole())("experts", listed)
        self._read(off={**self.off, self.layer: tuple(listed)})

    def _k(self, layer: int) -> int:
        return self.reading.trace.layer(layer).experts.shape[-1]
