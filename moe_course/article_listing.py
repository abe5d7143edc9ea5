"""Code that an article prints for fine-tuning "a question-answering system", run line by line, each
line alone.

outcomes()          a table: the line, and what happens when it is run with the transformers
                    installed here
run_piece(piece)    one of PIECES

The article downloads its models. Here tiny BERTs with random weights stand in: shapes, names and
errors are the same. Only single lines are quoted, or the part of one that matters; what a line
needs is made here, in `given`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch

from moe_lib.errors import require
from moe_lib.validation import Name, checked

BATCH, LENGTH, TEXTS = 16, 512, 160


@dataclass(frozen=True)
class Piece:
    """One line of the article.

    section   of the article
    line      what is run
    given     makes the names that the line uses, where the article has made them; those it never
              makes are missing
    show      names -> what the line did, in words, if it runs
    trouble   what is wrong with it, in a sentence
    """

    section: str
    line: str
    trouble: str
    given: Callable[[], dict] = dict
    show: Callable[[dict], str] = lambda names: ""


@dataclass(frozen=True)
class Outcome:
    """error: the kind of exception, "" if the line ran; message: its text, or what the line did."""

    piece: Piece
    error: str
    message: str


def run_piece(piece: Piece) -> Outcome:
    """Run the line with nothing but what `given` makes. Exceptions are caught: they are the
    result."""
    names = piece.given()
    try:
        exec(piece.line, names)
        return Outcome(piece, "", piece.show(names))
    except Exception as error:
        return Outcome(piece, type(error).__name__, _one_line(error))


def outcomes() -> pd.DataFrame:
    """A row per piece: section, line, what happens, what is wrong."""
    rows = []
    for piece in PIECES:
        found = run_piece(piece)
        happens = f"{found.error}: {found.message}" if found.error else f"runs: {found.message}"
        rows.append(
            {
                "section": piece.section,
                "line": piece.line,
                "what happens": happens,
                "so": piece.trouble,
            }
        )
    return pd.DataFrame(rows)


def _one_line(error: Exception) -> str:
    """The message without the folder of the library, which is this machine's."""
    text = " ".join(str(error).split())
    return re.sub(r" \([^()]*[/\\][^()]*\)", "", text)[:140]


@checked
def tiny_bert(kind: Name, **settings):
    """A BERT of transformers with random weights: BertForSequenceClassification,
    BertForQuestionAnswering …"""
    import transformers

    wants = "a name of transformers such as BertForQuestionAnswering"
    require(kind.startswith("Bert") and hasattr(transformers, kind), "kind", kind, wants)
    config = transformers.BertConfig(
        vocab_size=100,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        **settings,
    )
    torch.manual_seed(0)
    return getattr(transformers, kind)(config).eval()


def _question_answering() -> dict:
    return {
        "model": tiny_bert("BertForQuestionAnswering"),
        "inputs": {"input_ids": torch.arange(12)[None]},
    }


def _answered() -> dict:
    names = _question_answering()
    outputs = names["model"](**names["inputs"])
    return {**names, "outputs": outputs, "loss": outputs.loss}


def _batch(rows: int, *shape: int) -> dict:
    return {
        "input_ids": torch.ones(rows, *shape, dtype=torch.long),
        "labels": torch.zeros(rows, dtype=torch.long),
    }


def _classifier(**settings) -> dict:
    return {"model": tiny_bert("BertForSequenceClassification", **settings)}


def _as_collated() -> dict:
    """Each item of the article's data set is (1, 512), so a batch is (16, 1, 512)."""
    from torch.utils.data import DataLoader

    items = [
        {name: part[0] if name == "labels" else part for name, part in _batch(1, LENGTH).items()}
        for _ in range(BATCH)
    ]
    return {**_classifier(), "inputs": next(iter(DataLoader(items, batch_size=BATCH)))}


def _on_another_device() -> dict:
    """ "meta" stands in for "cuda": the error is the same kind, and needs no GPU."""
    inputs = {name: part.to("meta") for name, part in _batch(2, 8).items()}
    return {**_classifier(), "inputs": inputs}


def _data_set() -> dict:
    from torch.utils.data import DataLoader

    return {"DataLoader": DataLoader, "train_dataset": list(range(TEXTS))}


def _evaluated() -> dict:
    """The article's evaluation, of a model that knows nothing: ln 2 = 0.693 for every text."""
    import math

    batches = range(0, TEXTS, BATCH)
    return {"eval_loss": sum(math.log(2) for _ in batches), "val_dataset": list(range(TEXTS))}


def _bert() -> dict:
    def from_pretrained(name, **settings):
        return _classifier(**settings)["model"]

    return {
        "BertForSequenceClassification": type(
            "BERT", (), {"from_pretrained": staticmethod(from_pretrained)}
        )
    }


def _show_classifier(names: dict) -> str:
    model = names["model"]
    experts = sum("expert" in name for name, _ in model.named_modules())
    shape = tuple(model(input_ids=torch.ones(1, 8, dtype=torch.long)).logits.shape)
    return f"output of one text {shape}; modules named expert: {experts}"


def _show_order(names: dict) -> str:
    first, again = (next(iter(names["batches"])).tolist()[:4] for _ in range(2))
    return f"first batch {first} …, in the next epoch {again} …"


PIECES = (
    Piece(
        "4.3.4",
        "from transformers import GPT3ForQuestionAnswering, AdamW",
        "No such model: GPT-3's weights were never published.",
    ),
    Piece(
        "4.3.4",
        "inputs = tokenizer(question, answer, return_tensors='pt')",
        "The training code never makes a tokenizer.",
        lambda: {"question": "Who?", "answer": "Wim"},
    ),
    Piece(
        "4.3.4",
        "loss.backward()",
        "With a model that does exist: nobody told it where the answers are, so there is no loss.",
        _answered,
    ),
    Piece(
        "4.3.5",
        "answer = outputs.logits.argmax().item()",
        "Such a model gives start_logits and end_logits; and a position is no token id.",
        _answered,
    ),
    Piece(
        "5.2",
        "from transformers import BertTokenizer, BertForSequenceClassification, AdamW",
        "AdamW has left transformers; torch.optim has it.",
    ),
    Piece(
        "5.2",
        "train_dataset = QADataset(train_texts, train_labels)",
        "Texts and labels appear from nowhere.",
        lambda: {"QADataset": lambda texts, labels: None},
    ),
    Piece(
        "5.2",
        "outputs = model(**inputs)",
        "Every item has a batch dimension of its own, so a batch has shape (16, 1, 512).",
        _as_collated,
    ),
    Piece(
        "5.2",
        "outputs = model(**inputs)",
        "The inputs go to another device, the model is never moved. (Shapes mended.)",
        _on_another_device,
    ),
    Piece(
        "5.2",
        "model = BertForSequenceClassification.from_pretrained('bert-base-uncased', num_labels=2)",
        "Two numbers per text: a classifier. It can give no answer, and it has no experts.",
        _bert,
        _show_classifier,
    ),
    Piece(
        "5.2",
        "batches = DataLoader(train_dataset, batch_size=16)",
        "The same order in every epoch, as in the file. If that is sorted by label, training "
        "suffers.",
        _data_set,
        _show_order,
    ),
    Piece(
        "5.2",
        "printed = eval_loss/len(val_dataset)",
        "A sum of batch means, divided by texts: 16 times too small.",
        _evaluated,
        lambda names: f"{names['printed']:.4f} for a model that has 0.6931 on every text",
    ),
)
