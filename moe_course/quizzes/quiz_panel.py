"""The widget of a quiz: one group of radio buttons per question and one button, all usable by
keyboard."""

import ipywidgets as widgets

from moe_course.quizzes.marking import Quiz, code_html

# ipywidgets gives a choice the height of one line: a long one would lie upon the next where the
# page is narrow.
STYLE = """<style>
.moe-quiz .widget-radio-box label {
  display: flex; align-items: flex-start; height: auto; line-height: 1.35; margin: 2px 0;
  white-space: normal;
}
.moe-quiz .widget-radio-box input { flex: none; float: none; height: 1.35em; margin: 0 8px 0 1px; }
</style>"""


class QuizPanel:
    """Keeps the controls and a Quiz in step, both ways."""

    def __init__(self, quiz: Quiz):
        self.quiz = quiz
        self.radios, self.feedback, rows = [], [], []
        for index, question in enumerate(quiz.questions):
            title = f"<strong>Question {index + 1}.</strong> {code_html(question.question)}"
            radio = widgets.RadioButtons(
                options=[
                    (choice.text, position) for position, choice in enumerate(question.choices)
                ],
                index=quiz.chosen[index],
                layout=widgets.Layout(width="auto"),
                tooltip=f"Choices of question {index + 1}",
            )
            radio.add_class("moe-quiz")
            radio.observe(self._on_choice(index), names="index")
            self.radios.append(radio)
            self.feedback.append(widgets.HTML())
            style = STYLE if index == 0 else ""
            rows += [widgets.HTML(style + title), radio, self.feedback[-1]]
        self.button = widgets.Button(
            description="Check answers", tooltip="Mark the quiz and explain the answers"
        )
        self.button.on_click(lambda _: quiz.submit())
        self.summary = widgets.HTML()
        self.box = widgets.VBox([*rows, widgets.HBox([self.button, self.summary])])
        self.refresh()

    def _on_choice(self, index: int):
        return lambda change: self.quiz.choose(index, change["new"])

    def refresh(self) -> None:
        """Show the state of the quiz."""
        for index, (radio, text) in enumerate(zip(self.radios, self.feedback, strict=True)):
            if radio.index != self.quiz.chosen[index]:
                radio.index = self.quiz.chosen[index]
            words = self.quiz.feedback(index)
            text.value = f'<div role="status">{code_html(words)}</div>' if words else ""
        self.summary.value = f'<span role="status">{self.quiz.summary()}</span>'
