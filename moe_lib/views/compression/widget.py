"""The compression comparator: smaller models side by side, in size, loss and changed choices."""

from collections.abc import Sequence

import anywidget
import traitlets

from moe_lib.errors import require, require_whole
from moe_lib.views.compression.compression_case import CompressionCase
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.page_messages import Form, MessageWidget, text
from moe_lib.views.kit.static_display import StaticDisplay
from moe_lib.views.kit.wording import apart, percent
from moe_lib.views.parameter_explorer.account import size_words

_HEADINGS = {
    "size": "Size",
    "rise": "Loss, nats per token more",
    "flipped": "Tokens with other experts",
}


class CompressionComparator(MessageWidget, StaticDisplay, anywidget.AnyWidget):
    """Choose a way to make a model smaller, and one of its cases.

        CompressionComparator(cases, whole=14_900_000)   # bytes of the model that is made smaller

    For code:  set(group="pruning", case="REAP")
    To read:   group, case, chosen (a CompressionCase), cases, groups, whole, summary

    ValueError or TypeError names the argument that cannot be; nothing changes then.
    """

    _esm = script("settings", "compression")
    _css = style("settings", "compression")
    FORMS = (
        Form("_follow", needs={"group": text}),
        Form("_follow", needs={"case": text}),
    )
    SETS = ("group", "case")
    TELLS = ("cases", "groups", "whole", "chosen")
    KEPT = ("_group", "_case")
    view = traitlets.Dict().tag(sync=True)  # all that is drawn; compression.js only reads it

    def __init__(self, cases: Sequence[CompressionCase], whole: int):
        listed = isinstance(cases, Sequence) and not isinstance(cases, str | bytes)
        fits = listed and len(cases) > 0 and all(isinstance(one, CompressionCase) for one in cases)
        require(fits, "cases", cases, "a list of CompressionCase, at least one", TypeError)
        require_whole("whole", whole)
        names = [(one.group, one.name) for one in cases]
        twice = next((name for name in names if names.count(name) > 1), None)
        require(twice is None, "cases", twice, "no two of one group and name")
        self._cases, self._whole = list(cases), whole
        self._groups = list(dict.fromkeys(one.group for one in cases))
        self._group = self._groups[0]
        self._case = self._in_group()[0].name
        super().__init__(view=self._view())

    @property
    def _chosen(self) -> CompressionCase:
        return next(one for one in self._in_group() if one.name == self._case)

    def set(self, *, group: str | None = None, case: str | None = None) -> None:
        """Show another group, at its first case, or another case of the group."""
        wants = f"one of {', '.join(self._groups)}"
        require(group is None or group in self._groups, "group", group, wants)
        new = self._group if group is None else group
        names = [one.name for one in self._cases if one.group == new]
        require(case is None or case in names, "case", case, f"one of {', '.join(names)}")
        stays = self._case if group in (None, self._group) else names[0]
        self._group, self._case = new, stays if case is None else case
        self.view = self._view()

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        one, others = self._chosen, [c for c in self._in_group() if c.name != self._case]
        parts = [f"{apart(self._group)}: {apart(one.name)}: {self._words(one)}."]
        if one.domains:
            least, most = (f(one.domains, key=one.domains.get) for f in (min, max))
            parts.append(
                f"Most in {apart(most)} ({one.domains[most]:+.3f}), "
                f"least in {apart(least)} ({one.domains[least]:+.3f})."
            )
        parts += [f"{apart(other.name)}: {self._words(other)}." for other in others]
        return " ".join(parts)

    def figure(self):
        """What is shown, as a matplotlib figure."""
        from moe_lib.views.compression.figure import comparison_figure

        view = self.view
        return comparison_figure(view["title"], view["rows"], view["domains"], view["headings"])

    def _in_group(self) -> list[CompressionCase]:
        return [one for one in self._cases if one.group == self._group]

    def _words(self, one: CompressionCase) -> str:
        size = f"{size_words(one.n_bytes)}, {percent(one.n_bytes / self._whole)} of the whole"
        rise = f"{one.rise:+.3f} ± {one.spread:.3f} nats per token"
        if one.flipped is None:
            return f"{size}; {rise}"
        return f"{size}; {rise}; {percent(one.flipped)} of tokens get other experts"

    def _view(self) -> dict:
        shown, one = self._in_group(), self._chosen
        most = max((abs(c.rise) for c in shown), default=0) or 1
        domains = one.domains or {}
        widest = max(map(abs, domains.values()), default=0) or 1
        return {
            "groups": self._groups,
            "group": self._group,
            "case": self._case,
            "title": f"{self._group}, beside the whole model of {size_words(self._whole)}",
            "headings": _HEADINGS | {"domain": f"{self._case}: loss by domain"},
            "rows": [
                {
                    "name": c.name,
                    "chosen": c.name == self._case,
                    "size": _mark(min(1, c.n_bytes / self._whole), size_words(c.n_bytes)),
                    "rise": _mark(max(0, c.rise) / most, f"{c.rise:+.3f} ± {c.spread:.3f}"),
                    "flipped": _mark(c.flipped, "–" if c.flipped is None else percent(c.flipped)),
                }
                for c in shown
            ],
            "domains": [
                {"domain": name, "place": max(0, rise) / widest, "words": f"{rise:+.3f}"}
                for name, rise in domains.items()
            ],
            "summary": self.summary,
            "problem": self._problem,
        }

    def _follow(self, **choice: str) -> None:
        """The page reports a choice."""
        self.set(**choice)


def _mark(place: float | None, words: str) -> dict:
    return {"place": place, "words": words}
