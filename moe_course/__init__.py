"""What a notebook needs to teach: the list of chapters, checks, quizzes, pictures with words.

Names are imported on first use: `course.py` sets the course up from this package before anything is
installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING

_HOME = {
    "CHAPTERS": "chapters",
    "check": "checks.exercises",
    "course_map": "chapters",
    "quiz": "quizzes",
    "show": "pictures",
}
__all__ = ["CHAPTERS", "check", "course_map", "quiz", "show"]

if TYPE_CHECKING:
    from moe_course.chapters import CHAPTERS, course_map
    from moe_course.checks.exercises import check
    from moe_course.pictures import show
    from moe_course.quizzes import quiz


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f"moe_course.{_HOME[name]}"), name)
    raise AttributeError(
        f"module 'moe_course' has no attribute {name!r}; it has: {', '.join(__all__)}"
    )
