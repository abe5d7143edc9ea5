"""What a notebook needs to teach: the list of chapters, checks, quizzes, pictures with words."""

from moe_lib.course.chapters import CHAPTERS, course_map
from moe_lib.course.exercises import check
from moe_lib.course.pictures import show
from moe_lib.course.quizzes import quiz

__all__ = ["CHAPTERS", "check", "course_map", "quiz", "show"]
