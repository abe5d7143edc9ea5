"""The article's lines fail as the notebook says, and for the reason that it gives: mended, they
run."""

import math

import pytest
import torch
import transformers

from moe_course.article_listing import PIECES, Piece, outcomes, run_piece, tiny_bert


def find(line, number=0):
    return [piece for piece in PIECES if piece.line.startswith(line)][number]


@pytest.mark.parametrize(
    ("line", "number", "error"),
    [
        ("from transformers import GPT3", 0, "ImportError"),
        ("inputs = tokenizer", 0, "NameError"),
        ("loss.backward()", 0, "AttributeError"),
        ("answer = outputs.logits", 0, "AttributeError"),
        ("from transformers import Bert", 0, "ImportError"),
        ("train_dataset =", 0, "NameError"),
        ("outputs = model", 0, "ValueError"),
        ("outputs = model", 1, "RuntimeError"),
        ("model = Bert", 0, ""),
        ("batches =", 0, ""),
        ("printed =", 0, ""),
    ],
)
def test_each_line_does_what_is_said(line, number, error):
    found = run_piece(find(line, number))
    assert found.error == error and found.message


def test_which_names_exist():
    assert not any(
        hasattr(transformers, name)
        for name in ("AdamW", "GPT3ForQuestionAnswering", "GPT3Tokenizer")
    )
    for name in ("BertTokenizer", "BertForSequenceClassification", "BertForQuestionAnswering"):
        assert hasattr(transformers, name)
    assert hasattr(torch.optim, "AdamW")


def test_mended_lines_run():
    names = find("outputs = model", 0).given()
    assert names["inputs"]["input_ids"].shape == (16, 1, 512)
    mended = {
        name: part.squeeze(1) if part.dim() == 3 else part for name, part in names["inputs"].items()
    }
    assert names["model"](**mended).logits.shape == (16, 2)

    names = find("outputs = model", 1).given()
    names["model"].to("meta")(**names["inputs"])  # both on one device

    model = tiny_bert("BertForQuestionAnswering")
    place = torch.tensor([3])
    output = model(input_ids=torch.arange(12)[None], start_positions=place, end_positions=place)
    output.loss.backward()
    assert output.start_logits.shape == (1, 12)


def test_the_printed_loss_is_sixteen_times_too_small():
    assert f"{math.log(2) / 16:.4f} for" in run_piece(find("printed =")).message


def test_a_line_sees_only_what_it_is_given_and_messages_hide_folders():
    assert run_piece(Piece("0", "found = PIECES", "")).error == "NameError"
    for message in outcomes()["what happens"]:
        assert "/" not in message.replace("eval_loss/len", "") and "0x" not in message
