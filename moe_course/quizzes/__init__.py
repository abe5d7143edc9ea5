"""Quizzes: questions as data, their panel, and `quiz("03")` for a notebook."""

from moe_course.quizzes.marking import Choice, Question, Quiz, load_questions, quiz

__all__ = ["Choice", "Question", "Quiz", "load_questions", "quiz"]
