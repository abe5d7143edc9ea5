"""Wrong input of task heads: making them, running them, predicting with them, their files."""

import torch

from moe_lib.tuning import (
    SequenceClassifier,
    TransformersEncoder,
    save_head,
)
from tests.wrong_input.table import (
    COUNT,
    FLAG,
    INF,
    MODEL,
    NAN,
    NATURAL,
    NON_NEGATIVE,
    PATH,
    TEXT,
    TOKENIZER,
    Entry,
    Made,
)
from tests.wrong_input.tables.interop import small_bert
from tests.wrong_input.tuning_small import (
    BATCHES,
    DEVICE,
    ENCODED,
    HEAD,
    IDS,
    MASK,
    RATE,
    THRESHOLD,
    WRONG_IDS,
    WRONG_MASK,
    base,
    batches,
    chooser,
    classifier,
    dense,
    folder,
    fresh_base,
    questions,
    reader,
    rows,
    tagger,
    tokenizer,
)

BASE = [*MODEL, torch.nn.Linear(2, 2)]
POOLING = ["max", "", None, 3, ["mean"], True]
LABELS = torch.tensor([0, 1, 0])
WRONG_LABELS = ["labels", [0, 1, 0], 3, LABELS.float(), LABELS[:2], LABELS[None], LABELS - 1]
WRONG_LABELS += [LABELS + 5, LABELS * 0 - 100, LABELS.bool(), LABELS * NAN]
SMOOTHING = [-0.1, 1, True, "0", None, NAN, INF]
SPANS = torch.tensor([[1, 2], [-1, -1], [3, 3]])
WRONG_SPANS = ["labels", [[1, 2]], SPANS.float(), SPANS[:2], SPANS[:, :1], SPANS + 9, SPANS - 7]
WRONG_SPANS += [SPANS.flip(1), SPANS * NAN]
THREE = IDS[:, None].expand(3, 2, 6)
CHOSEN = torch.tensor([0, 1, 1])
WRONG_CHOICE = ["labels", [0, 1, 1], CHOSEN.float(), CHOSEN[:2], CHOSEN + 5, CHOSEN - 7]
WRONG_CHOICE += [torch.zeros(3, 2, dtype=torch.long), torch.full((3, 2), 2), CHOSEN * NAN]
LOGITS = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
TUNING = "moe_lib.tuning."


def forward(head, wrong: dict, **valid) -> Entry:
    """One pass of a head: what it gets, and what of it may be wrong."""
    name = type(head()).__name__
    return Entry(
        f"{TUNING}{name}.forward",
        lambda: dict(valid),
        {"label_smoothing": SMOOTHING, **wrong},
        call=lambda arguments: head()(**arguments),
    )


def saved() -> str:
    """The folder of a whole head."""
    place = folder() / "head"
    if not place.exists():
        save_head(SequenceClassifier(fresh_base(), 2), place)
    return str(place)


ENTRIES = [
    Entry(
        TUNING + "TransformersEncoder",
        lambda: dict(model=small_bert()),
        {"model": [*MODEL, torch.nn.Linear(2, 2)], "balance_factor": NON_NEGATIVE},
    ),
    Entry(
        TUNING + "TransformersEncoder.hidden_states",
        lambda: dict(self=TransformersEncoder(small_bert()), input_ids=IDS % 10),
        {"input_ids": ["ids", [[1, 2]], None, IDS.float(), IDS[0], IDS + 10**6, IDS - 1000]},
    ),
    Entry(
        TUNING + "SequenceClassifier",
        lambda: dict(base=base(), n_labels=2),
        {"base": BASE, "n_labels": COUNT, "pooling": POOLING, "dropout": RATE},
    ),
    Entry(
        TUNING + "TokenClassifier",
        lambda: dict(base=base(), n_labels=2),
        {"base": BASE, "n_labels": COUNT, "dropout": RATE},
    ),
    Entry(
        TUNING + "MultipleChoice",
        lambda: dict(base=base()),
        {"base": BASE, "pooling": POOLING, "dropout": RATE},
    ),
    Entry(
        TUNING + "SpanExtractor",
        lambda: dict(base=base()),
        {"base": BASE, "dropout": RATE, "match_vector": FLAG, "compare_question": FLAG},
    ),
    Entry(
        TUNING + "TaskHead",
        lambda: dict(base=base(), n_outputs=2, dropout=0.0),
        {"base": BASE, "n_outputs": COUNT, "dropout": RATE},
    ),
    forward(
        classifier,
        {"input_ids": WRONG_IDS, "attention_mask": [*WRONG_MASK, MASK * 0], "labels": WRONG_LABELS},
        input_ids=IDS,
        attention_mask=MASK,
        labels=LABELS,
    ),
    forward(
        tagger,
        {"input_ids": WRONG_IDS, "attention_mask": WRONG_MASK, "labels": WRONG_LABELS},
        input_ids=IDS,
        attention_mask=MASK,
        labels=MASK,
    ),
    forward(
        reader,
        {
            "input_ids": WRONG_IDS,
            "attention_mask": WRONG_MASK,
            "context_mask": ["mask", [[1]], MASK[0], MASK[:, :3], MASK * 3, -MASK, MASK * NAN],
            "labels": WRONG_SPANS,
        },
        input_ids=IDS,
        attention_mask=MASK,
        context_mask=MASK,
        labels=SPANS,
    ),
    forward(
        chooser,
        {
            "input_ids": [None, "ids", [[[1]]], THREE.float(), THREE[0], THREE - 1000, THREE[:0]],
            "attention_mask": ["mask", [[[1]]], MASK, THREE[:, :1], THREE * NAN],
            "choice_mask": ["mask", [[1]], MASK, CHOSEN, torch.full((3, 2), 2), MASK[:, :2] * NAN],
            "labels": WRONG_CHOICE,
        },
        input_ids=THREE,
        attention_mask=torch.ones_like(THREE),
        choice_mask=torch.ones(3, 2, dtype=torch.long),
        labels=CHOSEN,
    ),
    Entry(
        TUNING + "best_span",
        lambda: dict(logits=LOGITS),
        {
            "logits": [None, "logits", [[0.0]], LOGITS.long(), LOGITS[0], LOGITS[:1], LOGITS[:0]]
            + [LOGITS[:, :1], LOGITS * NAN, LOGITS - INF],
            "max_answer_tokens": COUNT,
        },
    ),
    Entry(
        TUNING + "predict",
        lambda: dict(head=classifier(), batches=batches()),
        {"head": [*HEAD, base(), reader()], "batches": BATCHES},
    ),
    Entry(
        TUNING + "predict_answers",
        lambda: dict(head=reader(), encoded=questions()),
        {
            "head": [*HEAD, base(), classifier()],
            "encoded": [*ENCODED, rows()],
            "batch_size": COUNT,
            "max_answer_tokens": COUNT,
            "threshold": THRESHOLD,
        },
    ),
    Entry(
        TUNING + "tried_text.ClassifyText",
        lambda: dict(head=classifier(), tokenizer=tokenizer(), label_names=("a", "b")),
        {
            "head": [*HEAD, base(), reader()],
            "tokenizer": TOKENIZER,
            "label_names": [None, 3, "ab", (3, 4), ("a",), ("a", "b", "c")],
            "abstain_below": [-0.1, 1.1, True, "0.5", None, NAN],
            "max_length": [*COUNT, 1],
        },
    ),
    Entry(
        TUNING + "tried_text.ClassifyText.__call__",
        lambda: dict(head=classifier(), tokenizer=tokenizer(), label_names=("a", "b"), text="one"),
        {"text": [*TEXT, "", " "]},
        call=lambda arguments: _try("ClassifyText", arguments),
    ),
    Entry(
        TUNING + "tried_text.FindAnswer",
        lambda: dict(head=reader(), tokenizer=tokenizer()),
        {
            "head": [*HEAD, base(), classifier()],
            "tokenizer": TOKENIZER,
            "threshold": THRESHOLD,
            "max_length": COUNT,
            "stride": NATURAL,
            "max_answer_tokens": COUNT,
        },
    ),
    Entry(
        TUNING + "tried_text.FindAnswer.__call__",
        lambda: dict(head=reader(), tokenizer=tokenizer(), text="one", question="When?"),
        {"text": [*TEXT, "", " "], "question": [*TEXT, "", " "]},
        call=lambda arguments: _try("FindAnswer", arguments),
    ),
    Entry(
        TUNING + "save_head",
        lambda: dict(head=classifier(), folder=str(folder() / "saved")),
        {
            "head": [*HEAD, base(), Made("NaN weights", lambda _: damaged())],
            "folder": [*PATH, ""],
            "tokenizer": ["mixture", 3, {}],
            "label_names": [None, 3, "ab", [3], ["\ud800"]],
            "with_base": FLAG,
        },
    ),
    Entry(
        TUNING + "load_head",
        lambda: dict(folder=saved()),
        {
            "folder": [*PATH, "", "nowhere/at/all"],
            "base": ["model", 3, {}, torch.nn.Linear(2, 2), base(True), dense()],
            "device": DEVICE,
        },
        {"folder": ""},
    ),
    Entry(
        TUNING + "fingerprint",
        lambda: dict(model=base()),
        {"model": [*BASE, classifier()]},
    ),
]


def damaged():
    head = SequenceClassifier(fresh_base(), 2)
    head.classifier.weight.data[0, 0] = NAN
    return head


def _try(kind: str, arguments: dict):
    from moe_lib.tuning import tried_text

    texts = {name: arguments.pop(name) for name in ("text", "question") if name in arguments}
    return getattr(tried_text, kind)(**arguments)(**texts)
