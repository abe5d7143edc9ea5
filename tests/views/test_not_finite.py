"""What is no number (NaN or infinity) never goes to a page, which JSON could not write; words and
pictures say it."""

import json
from dataclasses import replace

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig
from moe_lib.training.loop import StepReport
from moe_lib.training.recorder import BalanceRecorder
from moe_lib.tuning import SequenceClassifier
from moe_lib.tuning.tried_text import ClassifyText, TokenRoute, TriedText
from moe_lib.views.balance_dashboard.figure import balance_figure
from moe_lib.views.balance_dashboard.payload import step_rows
from moe_lib.views.balance_dashboard.words import run_words
from moe_lib.views.mask_playground.widget import MaskPlayground
from moe_lib.views.tryout.widget import TryOut
from moe_lib.views.tuning_comparator.widget import TuningComparator
from tests.tuning.small import make_base
from tests.views.comparisons import made_up

NAN, INF = float("nan"), float("inf")
PNG = b"\x89PNG"


def sent(view: dict) -> dict:
    """The view as a page gets it; ValueError for what JSON has no word for."""
    return json.loads(json.dumps(view, allow_nan=False))


def words_of(figure) -> str:
    return " ".join(
        text.get_text() for ax in figure.axes for text in [*ax.texts, ax.title]
    ) + " ".join(text.get_text() for text in figure.texts)


@pytest.fixture(scope="module")
def masked():
    torch.manual_seed(0)
    return LanguageModel(ModelConfig.preset("tiny", causal=False)).eval()


def test_masked_tokens_without_numbers(masked, tokenizer):
    playground = MaskPlayground(masked, tokenizer, "The list is sorted in place.")
    playground.mask([1, 3])
    first, *rest = playground.predictions
    assert sent(playground.view)["cards"][0]["rows"] and rest
    lost = replace(first, probabilities=(NAN,) * 5, loss=NAN, true_rank=1)
    playground._predictions = [lost, *rest]
    shown = sent(playground._view())
    assert shown["cards"][0]["loss"] is None and shown["cards"][0]["rows"] == []
    assert shown["cards"][1]["loss"] == rest[0].loss and shown["cards"][1]["rows"]
    total = len(playground.predictions)
    assert f"{total} tokens. The model gives no numbers (NaN or infinity) at 1 of them" in (
        playground.summary
    )
    assert "nan" not in playground.summary and "right." not in playground.summary
    drawn = words_of(playground.figure())
    assert "Loss of the masked positions: no number (NaN or infinity)" in drawn
    assert "nan" not in drawn and playground.png().startswith(PNG)


def test_a_masked_model_that_gives_nan_itself(masked, tokenizer):
    broken = LanguageModel(masked.config).eval()
    with torch.no_grad():
        broken.head.weight.fill_(NAN)
    playground = MaskPlayground(broken, tokenizer, "The list is sorted in place.")
    assert playground.receive({"masked": [1]}) == ""
    assert sent(playground.view)["cards"][0]["loss"] is None
    assert "gives no numbers (NaN or infinity) at 1 of them" in playground.summary


def lost_answer(text: str, question: str) -> TriedText:
    routes = (TokenRoute("Ada", {1: ((0, NAN), (2, INF))}),)
    bars = (("“Ada”", NAN), ("no answer", NAN))
    return TriedText("Ada", bars, (0, 3), "", routes, "the tokens of the answer", {1: 4})


@pytest.mark.parametrize("asks", [False, True])
def test_a_head_that_gives_nan_has_no_answer(tokenizer, asks):
    base = make_base(vocab_size=len(tokenizer), max_position_embeddings=128)
    head = SequenceClassifier(base, 2).eval()
    with torch.no_grad():
        for parameter in head.classifier.parameters():
            parameter.fill_(NAN)
    answer = lost_answer if asks else ClassifyText(head, tokenizer, ("a", "b"))
    box = TryOut(answer, examples=[("Ada wrote it.", "Who?") if asks else "It works."])
    shown = sent(box.view)
    assert shown["answer"] == "" and shown["span"] is None
    assert "gives no numbers (NaN or infinity)" in shown["no_answer"]
    assert shown["bars"] and all(bar["share"] is None for bar in shown["bars"])
    assert "nan" not in box.summary and "< 0.1 %" not in box.summary
    assert not asks or shown["routes"][0]["experts"] == [[[0, None], [2, None]]]
    drawn = words_of(box.figure())
    assert "no number (NaN or infinity)" in drawn and "nan" not in drawn
    assert box.png().startswith(PNG)


@pytest.mark.parametrize("losses", [[2.0, NAN, 1.5], [NAN, NAN, NAN], [INF, 2.0, 1.0]])
def test_a_run_with_losses_that_are_no_numbers(losses):
    run = BalanceRecorder("run 1")
    loads = [torch.tensor([3, 1])]
    for step, loss in enumerate(losses):
        row = {"step": step, "loss": loss, "tokens": 4, "heldout_loss": loss}
        run(StepReport(row, loads))
    rows = sent({"rows": step_rows(run, 0)})["rows"]
    expected = [None if loss in (INF,) or loss != loss else loss for loss in losses]
    assert [row["loss"] for row in rows] == [row["held"] for row in rows] == expected
    assert "loss no number (NaN or infinity)" in run_words(run)
    assert len(balance_figure(run).axes) >= 4


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_runs_without_a_quality_are_left_out_and_said(bad):
    comparison = made_up()
    runs = comparison.runs
    runs["trainable"] = runs["trainable"].astype(float)
    runs.loc[(runs["case"] == "full") & (runs["seed"] == 0), ["test_accuracy", "gap"]] = bad
    runs.loc[runs["case"] == "head", ["test_accuracy", "trainable", "seconds"]] = bad
    comparison.curves.loc[comparison.curves["step"] > 10, "loss"] = bad
    comparator = TuningComparator({"intents": comparison})
    shown = sent(comparator.view)
    full, lora, head = shown["table"]["rows"]
    assert len(full["quality"]["seeds"]) == 2 and full["text"]["seeds"] == "2"
    assert len(lora["quality"]["seeds"]) == 3
    assert head["quality"] == {"mean": None, "ends": [], "seeds": []}
    assert head["text"]["mean"] == head["text"]["trainable"] == head["text"]["seconds"] == "–"
    said = " ".join(shown["warnings"])
    lost = "test accuracy is no number (NaN or infinity) in"
    assert f"full: {lost} 1 of 3 runs" in said and f"head: {lost} 3 of 3 runs" in said
    assert "Best on average: full" in shown["words"] and "nan" not in comparator.summary
    assert comparator.png().startswith(PNG)


def test_a_comparison_without_any_quality_says_so():
    comparison = made_up()
    comparison.runs["test_accuracy"] = NAN
    comparison.curves["loss"] = INF
    comparator = TuningComparator({"intents": comparison})
    shown = sent(comparator.view)
    assert shown["words"] == "intents: test accuracy is no number (NaN or infinity) in every run."
    assert "loss" not in shown["curves"] and "validation_loss" in shown["curves"]
    assert comparator.png().startswith(PNG)
