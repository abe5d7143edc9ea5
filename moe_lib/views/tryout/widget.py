"""The try-out box: type a text, and a question; see what a fine-tuned model says, and which experts
read it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import anywidget
import traitlets

from moe_lib.errors import require, require_takes
from moe_lib.tuning.tried_text import TriedText
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.finite import all_finite, finite
from moe_lib.views.kit.page_messages import Form, MessageWidget, optional, whole
from moe_lib.views.kit.page_messages import text as check_text
from moe_lib.views.kit.palette import expert_colour
from moe_lib.views.kit.static_display import StaticDisplay
from moe_lib.views.kit.wording import apart, count, percent

MAX_CHARACTERS = 4000
NO_NUMBERS = "The model gives no numbers (NaN or infinity) for this text, so there is no answer."


class TryOut(MessageWidget, StaticDisplay, anywidget.AnyWidget):
    """Type a text (and a question) and see the answer marked in it, or a bar for each label, and
    the routing.

        classify = ClassifyText(head, tokenizer, label_names, abstain_below=0.5)
        TryOut(classify, examples=["I want my money back.", …])
        find = FindAnswer(head, tokenizer)
        TryOut(find, examples=[("Ada wrote it in 1843.", "Who wrote it?"), …])

    answer     a function text -> TriedText, or (text, question) -> TriedText; see
               `moe_lib.tuning.tried_text`
    text       to begin with; by default the first example's
    question   the same; None where the box has no field for questions
    examples   texts, or pairs (text, question), to click

    For code:  ask(text, question=None) asks and shows; text, question
    To read:   result (a TriedText, None where the text or the question is empty), summary (what is
    shown, in words)

    Raises TypeError or ValueError naming the argument.
    """

    _esm = script("tryout")
    _css = style("tryout")
    FORMS = (
        Form("_ask", needs={"text": check_text}, may={"question": optional(check_text)}),
        Form("_press", needs={"example": whole()}),
    )
    KEPT = ("_text", "_question", "_result")
    TELLS = ("result", "asks")
    view = traitlets.Dict().tag(sync=True)  # all that is drawn; tryout.js only reads it

    def __init__(
        self,
        answer: Callable[..., TriedText],
        *,
        examples: Sequence = (),
        text: str | None = None,
        question: str | None = None,
    ):
        require(
            callable(answer),
            "answer",
            type(answer).__name__,
            "a function that gives a TriedText",
            TypeError,
        )
        require(
            isinstance(examples, list | tuple),
            "examples",
            type(examples).__name__,
            "a list of texts, or of pairs (text, question)",
            TypeError,
        )
        pairs = [tuple(one) if isinstance(one, list | tuple) else (one, None) for one in examples]
        asks = bool(
            getattr(
                answer,
                "asks",
                question is not None or any(pair[1:] not in ((), (None,)) for pair in pairs),
            )
        )
        for index, pair in enumerate(pairs):
            fits = (
                len(pair) == 2
                and isinstance(pair[0], str)
                and isinstance(pair[1], str if asks else type(None))
            )
            require(
                fits,
                f"examples[{index}]",
                examples[index],
                "(text, question)" if asks else "a text",
            )
        first = pairs[0] if pairs else ("", None)
        require_takes("answer", answer, "a text", *(["a question"] if asks else []))
        self._answer, self._examples, self._asks = answer, pairs, asks
        self._result = None
        question = first[1] if question is None else question
        self._ask(first[0] if text is None else text, question)
        super().__init__(view=self._view())

    @property
    def text(self) -> str:
        return self._text

    @text.setter
    def text(self, text: str) -> None:
        self.ask(text)

    @property
    def question(self) -> str | None:
        """The question about the text; None in a box that has no field for it."""
        return self._question

    @question.setter
    def question(self, question: str) -> None:
        check_text("question", question)
        self.ask(self.text, question)

    def ask(self, text: str, question: str | None = None) -> TriedText | None:
        """Ask the model, show it, and return what it says. The question stays if none is given."""
        self._ask(text, self._question if question is None else question)
        self.view = self._view()
        return self.result

    @property
    def summary(self) -> str:
        """What is shown, in words."""
        if self.result is None:
            return (
                f"Type a text{' and a question about it' if self.asks else ''}, or press an "
                "example."
            )
        found = self.result
        first = f"“{apart(self.question)}” " if self.asks else ""
        said = (
            self._no_answer
            or f"{first}Answer: {apart(found.answer)}, with "
            f"{percent(dict(self._named())[found.answer])}."
        )
        others = [f"{apart(name)} {percent(share)}" for name, share in found.bars[:3]]
        likeliest = "" if self._is_lost else f"Likeliest: {', '.join(others)}."
        parts = [said, likeliest, found.note, self._routing_words()]
        return " ".join(part for part in parts if part)

    @property
    def _is_lost(self) -> bool:
        return self.result is not None and not all_finite(share for _, share in self.result.bars)

    @property
    def _no_answer(self) -> str:
        """Why there is no answer; "" where there is one."""
        return "" if self.result is None else NO_NUMBERS if self._is_lost else self.result.no_answer

    def figure(self):
        """What is shown, as a matplotlib figure."""
        from moe_lib.views.tryout.figure import tryout_figure  # matplotlib waits for a picture

        return tryout_figure(self.text, self.question, self._drawn())

    def _drawn(self) -> TriedText | None:
        """The result, without an answer where its numbers are none."""
        if not self._is_lost:
            return self.result
        return replace(self.result, answer="", span=None, no_answer=NO_NUMBERS)

    def _named(self) -> list[tuple[str, float]]:
        return [
            (name.strip("“”") if self.asks else name, share) for name, share in self.result.bars
        ]

    def _routing_words(self) -> str:
        """Which experts the tokens behind the answer go to, layer by layer."""
        routes = self.result.routes
        if not self.result.n_experts or not routes:
            return (
                "The model is dense: there is no routing to show."
                if not self.result.n_experts
                else ""
            )
        said = []
        for layer, n_experts in self.result.n_experts.items():
            chosen = [expert for route in routes for expert, _ in route.experts[layer]]
            busiest = max(sorted(set(chosen)), key=chosen.count)
            often = (
                f", most often expert {busiest}" if len(routes) > 1 else ""
            )  # of one token's experts, none is
            said.append(f"layer {layer} uses {len(set(chosen))} of {n_experts}{often}")
        return (
            f"Routing of {self.result.routes_of} ({count(len(routes), 'token')}): "
            f"{'; '.join(said)}."
        )

    def _press(self, example: int) -> None:
        """An example was pressed."""
        known = example < len(self._examples)
        require(known, "example", example, f"one of {len(self._examples)}, counted from 0")
        self._ask(*self._examples[example])

    def _ask(self, text: str, question: str | None = None) -> None:
        check_text("text", text)
        require(
            len(text) <= MAX_CHARACTERS,
            "text",
            f"{len(text)} characters",
            f"at most {MAX_CHARACTERS}",
        )
        if self.asks:
            question = "" if question is None else question
            check_text("question", question)
        wants = "None: this box has no field for questions"
        require(self.asks or question is None, "question", question, wants)
        whole = text.strip() != "" and (not self.asks or question.strip() != "")
        result = (
            None if not whole else self._answer(text, question) if self.asks else self._answer(text)
        )
        wants = "a function that gives a TriedText"
        fits = not whole or isinstance(result, TriedText)
        require(fits, "answer", f"one that gives {result!r:.80}", wants, TypeError)
        if result is not None:
            _check_fields(result)
        self._text, self._question, self._result = text, question, result

    def _view(self) -> dict:
        found = self.result
        answered = found is not None and not self._is_lost
        experts = max(found.n_experts.values(), default=0) if found else 0
        return {
            "asks": self.asks,
            "text": self.text,
            "question": self.question,
            "problem": self._problem,
            "summary": self.summary,
            "examples": [{"text": text, "question": ask} for text, ask in self._examples],
            "answer": found.answer if answered else "",
            "no_answer": self._no_answer,
            "note": found.note if found else "",
            "span": found.span if answered else None,
            "bars": [{"name": name, "share": finite(share)} for name, share in found.bars]
            if found
            else [],
            "layers": list(found.n_experts) if found else [],
            "routes_of": found.routes_of if found else "",
            "routes": [
                {
                    "text": route.text,
                    "experts": [
                        tuple((expert, finite(weight)) for expert, weight in route.experts[layer])
                        for layer in found.n_experts
                    ],
                }
                for route in found.routes
            ]
            if found
            else [],
            "colours": [
                {"fill": one.fill, "text": one.text, "edge": one.edge, "side": one.edge_side}
                for one in map(expert_colour, range(experts))
            ],
        }


def _check_fields(found: TriedText) -> None:
    """What is drawn needs a bar for the answer, and a token's experts in every layer."""
    fits = all(isinstance(bar, list | tuple) and len(bar) == 2 for bar in found.bars)
    require(fits, "answer: bars", found.bars, "pairs of a name and a probability", TypeError)
    names = {name for name, _ in found.bars} | {str(name).strip("“”") for name, _ in found.bars}
    lost = not all_finite(share for _, share in found.bars)
    fits = lost or found.no_answer or found.answer in names
    require(fits, "answer", found.answer, f"the name of a bar, one of {sorted(names)}")
    for place, route in enumerate(found.routes):
        missing = [layer for layer in found.n_experts if not route.experts.get(layer)]
        wants = "experts for every layer of n_experts"
        require(not missing, f"answer: routes[{place}]", f"none for layers {missing}", wants)
