"""The hidden plane of a puzzle, drawn in one place while a layer trains."""

from collections.abc import Sequence

import torch
from torch import nn

from moe_course.pictures import LivePicture
from moe_course.studies.hidden_rules import EXPERTS, STEPS, HiddenRules, answer, error, purity
from moe_lib.views.figures.mixture import plane_figure


class RuleFilm:
    """A `watch` for `learn`: draws each token on the hidden plane, as the expert it trusts most.

    keep    steps whose picture stays; between them the last picture changes
    steps   when to draw, for learn's watch_at
    errors, purities   {step: number}, of what was drawn so far
    """

    def __init__(
        self, puzzle: HiddenRules, keep: Sequence[int] = (0, 10, 20, 40, STEPS), tokens: int = 800
    ):
        self.puzzle, self.keep = puzzle, tuple(keep)
        between = (2, 5, 10, 15, 20, 25, 30, 35, 40, 50, 70, 100, 150, 250)
        last = max(self.keep)
        self.steps = sorted({*self.keep, *(step for step in between if step < last)})
        self.tokens, _, self.rule = puzzle.sample(tokens, 0)  # (tokens, 16), (tokens,)
        self.errors, self.purities, self._experts = {}, {}, {}
        self._picture = LivePicture()

    @torch.no_grad()
    def __call__(self, step: int, layer: nn.Module) -> None:
        _, routing = answer(layer, self.tokens.to(next(layer.parameters()).device))
        first = routing.experts[:, 0].cpu()  # (tokens,): the choice with the largest weight
        self._experts = {at: who for at, who in self._experts.items() if at in self.keep}
        self._experts[step] = first
        self.errors[step] = error(layer, self.puzzle)
        self.purities[step] = purity(self.rule, first)
        frames = {
            f"step {at}: error {self.errors[at]:.2f}": who for at, who in self._experts.items()
        }
        self._picture.show(plane_figure(self.puzzle.on_plane(self.tokens), frames), self.words())

    def words(self) -> str:
        """What the picture shows."""
        told = [
            f"step {at}: error {self.errors[at]:.2f}, {len(who.unique())} of {EXPERTS} experts "
            f"chosen, purity {self.purities[at]:.2f}"
            for at, who in self._experts.items()
        ]
        return (
            "Tokens on the hidden plane, whose four quarters follow one rule each, by their first "
            "expert. " + "; ".join(told) + "."
        )
