"""What a check says: a state in words, a symbol and a colour, and a message that helps."""

import re
from dataclasses import dataclass
from html import escape

PASSED, NOT_YET, NOT_ATTEMPTED = "passed", "not yet", "not attempted"

# Symbol, words and background; white on each background has a contrast of at least 4.5 to 1.
_LOOKS = {
    PASSED: ("✓", "Passed", "#00614a"),
    NOT_YET: ("△", "Not yet", "#9a3d00"),
    NOT_ATTEMPTED: ("○", "Not attempted yet", "#4a5560"),
}
_BACKTICKS = re.compile(r"`([^`\n]+)`")  # code, as in Markdown


@dataclass(frozen=True)
class Verdict:
    """Result of one check.

    exercise: its number, "03.2". status: "passed", "not yet" or "not attempted". message: what to
    read.
    """

    exercise: str
    status: str
    message: str

    def __post_init__(self):
        if self.status not in _LOOKS:
            raise ValueError(f"status: got {self.status!r}; wants one of {list(_LOOKS)}")

    @property
    def passed(self) -> bool:
        return self.status == PASSED

    def assert_passed(self) -> "Verdict":
        """Return the verdict itself if the check passed, raise AssertionError with its message if
        not.

        Solution cells end with it, so that a solution that stops working stops the notebook.
        """
        if not self.passed:
            raise AssertionError(str(self))
        return self

    def __repr__(self) -> str:
        symbol, words, _ = _LOOKS[self.status]
        return f"{symbol} Exercise {self.exercise}: {words}. {self.message}".rstrip()

    def _repr_html_(self) -> str:
        symbol, words, colour = _LOOKS[self.status]
        label = (
            f'<span style="background:{colour};color:#fff;padding:2px 8px;border-radius:3px;'
            f'font-weight:600;white-space:nowrap">{symbol} {words}</span>'
        )
        message = _BACKTICKS.sub(r"<code>\1</code>", escape(self.message)).replace("\n", "<br>")
        return (
            f'<div role="status" style="border-left:4px solid {colour};padding:4px '
            '10px;line-height:1.6">'
            f"{label} <strong>Exercise {escape(self.exercise)}.</strong> {message}</div>"
        )
