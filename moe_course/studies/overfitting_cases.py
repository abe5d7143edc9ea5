"""What the study of chapter 15 trains on, and the ways it trains: the data, the settings, and a
Case per remedy.

STEPS was chosen by the accuracy on the validation set, one seed, without a remedy (50, 100 steps at
100 labels; 100, 150, 200 at 300; 200, 400 with all: where more did not bring five texts of 219
more, the smaller number), EPSILON alike (0.05, 0.1, 0.2, 0.4 at 300 labels). The other strengths
are those of the papers, or set by hand; none was tuned.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from moe_lib.devices import device
from moe_lib.text import load_task, load_tokenizer
from moe_lib.training import load_checkpoint
from moe_lib.tuning import Encoded, Examples, SequenceClassifier, encode_texts, finetune
from moe_lib.tuning.comparison.cases import Case, TuningTask
from moe_lib.tuning.finetune import FineTuned
from moe_lib.tuning.prompting import Translator
from moe_lib.tuning.robust import (
    FGM,
    PGD,
    Augment,
    BackTranslated,
    Consistency,
    ConsistencyBatches,
    ExpertDropout,
    InTurn,
    MovingAverage,
    RDrop,
    SimCSE,
    Synonyms,
    WordDropout,
    augment_rows,
    back_translate,
    words_of_labels,
)

BASE, TRANSLATOR = "mini-v2", "mini-v2-prompted"
SEEDS, LEARNING_RATE, MAX_LENGTH, BATCH = (0, 1, 2), 2e-3, 32, 16
STEPS = {100: 50, 300: 100, None: 200}  # by the number of labels
EPSILON, DROPOUT, SMOOTHING = 0.2, ExpertDropout(0.4, 0.1), 0.1
POOL = 500  # texts without labels
CONTRAST = {"steps": 50, "learning_rate": 5e-4}
_CHINESE = re.compile("[\u4e00-\u9fff]")
REMEDIES = ("augmentation", "FGM", "dropout", "smoothing")
DESIGN = [
    (a, f, d, (a + f + d) % 2) for a in (0, 1) for f in (0, 1) for d in (0, 1)
]  # column 4 = sum of the others


@cache
def tokenizer():
    return load_tokenizer("mixture")


@cache
def intents(known_only: bool = False) -> dict[str, Encoded]:
    """The parts of support_intent; known_only leaves out the class out_of_scope, and gives its rows
    as "unknown"."""
    task = load_task("support_intent")
    names = task["train"].features["intent"].names
    known = [name for name in names if name != "out_of_scope"] if known_only else names
    parts, unknown = {}, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # texts over MAX_LENGTH are cut, on purpose
        for split, rows in task.items():
            labels = [names[number] for number in rows["intent"]]
            inside = [index for index, label in enumerate(labels) if label in known]
            parts[split] = encode_texts(
                [rows["text"][i] for i in inside],
                [labels[i] for i in inside],
                tokenizer(),
                label_names=known,
                max_length=MAX_LENGTH,
            )
            if known_only and split == "test":
                unknown = [
                    text
                    for text, label in zip(rows["text"], labels, strict=True)
                    if label not in known
                ]
                parts["unknown"] = encode_texts(unknown, None, tokenizer(), max_length=MAX_LENGTH)
    return parts


@cache
def market_news() -> Encoded:
    """Texts of another domain: the test part of market_sentiment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return encode_texts(
            list(load_task("market_sentiment", "test")["text"]),
            None,
            tokenizer(),
            max_length=MAX_LENGTH,
        )


def intent_task() -> TuningTask:
    parts = intents()
    n_labels = len(parts["train"].label_names)
    return TuningTask(
        "support_intent",
        parts["train"],
        parts["test"],
        lambda base: SequenceClassifier(base, n_labels),
        batch_size=BATCH,
    )


def others(labelled: Encoded) -> Encoded:
    """POOL rows of the training part that are not among these: texts without labels."""
    train, taken = intents()["train"], {tuple(row["input_ids"]) for row in labelled.rows}
    free = [index for index, row in enumerate(train.rows) if tuple(row["input_ids"]) not in taken]
    return train.select(free[:POOL])


def name_of(on: Sequence[int]) -> str:
    """ "none", or the remedies that are on, joined by " + "."""
    return " + ".join(name for name, there in zip(REMEDIES, on, strict=True) if there) or "none"


def remedy_case(on: Sequence[int], n_train: int | None, steps: int | None = None) -> Case:
    """The run with these remedies on: augmentation, FGM, dropout, smoothing."""
    augmentation, fgm, dropout, smoothing = on
    settings = _plan(n_train, steps)
    settings |= {"objective": FGM(EPSILON)} if fgm else {}
    settings |= {"label_smoothing": SMOOTHING} if smoothing else {}
    return Case(
        name_of(on),
        BASE,
        method=DROPOUT if dropout else None,
        n_train=n_train,
        settings=settings,
        prepare=Augment(tokenizer()) if augmentation else None,
    )


def single_cases(steps: int | None = None) -> list[Case]:
    """Nothing, and one remedy at a time, 300 labels. R-Drop needs dropout, so "dropout" is what it
    is compared with."""
    plan, n = _plan(300, steps), 300
    watched = {
        "validation": Examples(intents()["validation"], 64),
        "evaluate_every": 10,
        "patience": 3,
    }
    return [
        remedy_case((0, 0, 0, 0), n, steps),
        remedy_case((0, 0, 1, 0), n, steps),
        Case("weight decay", BASE, n_train=n, settings=plan | {"weight_decay": 1.0}),
        Case("early stopping", BASE, n_train=n, settings=plan | watched),
        Case("moving average", BASE, n_train=n, settings=plan, fit=with_moving_average),
        Case("no balance loss", BASE, n_train=n, settings=plan | {"balance": False}),
        Case("back-translation", BASE, n_train=n, settings=plan, prepare=BackTranslation()),
        Case("PGD", BASE, n_train=n, settings=plan | {"objective": PGD(EPSILON, 2)}),
        Case("R-Drop", BASE, method=DROPOUT, n_train=n, settings=plan | {"objective": RDrop(1.0)}),
        Case(
            "consistency",
            BASE,
            n_train=n,
            settings=plan | {"objective": Consistency(1.0)},
            fit=with_other_texts,
        ),
        Case("contrastive first", BASE, n_train=n, settings=plan, fit=after_contrast),
    ]


def fresh_head(
    rows: Encoded, seed: int, steps: int, order: int | None = None, **settings
) -> SequenceClassifier:
    """A new head on the base, trained on these rows; `order` is the seed of their order alone."""
    torch.manual_seed(seed)
    head = SequenceClassifier(load_checkpoint(BASE)[0], len(rows.label_names)).to(device())
    batches = Examples(rows, BATCH, seed=seed if order is None else order)
    return finetune(
        head, batches, steps=steps, learning_rate=LEARNING_RATE, seed=seed, **settings
    ).model


def with_moving_average(head, batches: Examples, *, callback, **settings) -> FineTuned:
    """finetune; what is measured in the end is the average of about the last ten steps."""
    average = MovingAverage(head, 0.9)

    def at_step(row: dict) -> bool | None:
        average(row)
        return callback(row)

    run = finetune(head, batches, callback=at_step, **settings)
    average.copy_to(run.model)
    return run


def with_other_texts(head, batches: Examples, *, seed: int, **settings) -> FineTuned:
    """finetune with the texts of `others` beside the labelled ones, each with an augmentation of
    itself."""
    texts, protect = others(batches.encoded), words_of_labels(batches.encoded.label_names)
    change = InTurn([Synonyms(0.3, protect), WordDropout(0.1, protect)])
    changed = augment_rows(texts, tokenizer(), change, keep=False, seed=seed)
    return finetune(
        head, ConsistencyBatches(batches, texts, changed, seed=seed), seed=seed, **settings
    )


def after_contrast(head, batches: Examples, *, seed: int, **settings) -> FineTuned:
    """SimCSE on the texts of `others`, with a little dropout for the two views; then finetune as
    usual."""
    texts = others(batches.encoded)
    bare = Encoded([{"input_ids": row["input_ids"]} for row in texts.rows], texts.pad_token_id)
    dropout = ExpertDropout(0.1, 0.1).attach(head.base)
    finetune(
        head.base,
        Examples(bare, 32, seed=seed),
        objective=SimCSE(),
        balance=False,
        seed=seed,
        **CONTRAST,
    )
    dropout.detach()
    return finetune(head, batches, seed=seed, **settings)


@dataclass(frozen=True)
class BackTranslation:
    """A `prepare` for a Case: below the rows, the same through the course's translation model and
    back."""

    def __call__(self, encoded: Encoded, seed: int) -> Encoded:
        texts = [
            tokenizer().decode(row["input_ids"], skip_special_tokens=True) for row in encoded.rows
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fresh = encode_texts(
                round_trip(texts)[1].texts, None, tokenizer(), max_length=MAX_LENGTH
            )
        rows = [
            {**new, "labels": row["labels"]}
            for new, row in zip(fresh.rows, encoded.rows, strict=True)
        ]
        return Encoded([*encoded.rows, *rows], encoded.pad_token_id, encoded.label_names)


def round_trip(texts: Sequence[str]) -> tuple[list[str], BackTranslated]:
    """English texts through Chinese, Chinese ones through English -> the texts half-way, and what
    came back."""
    model, its_tokenizer = load_checkpoint(TRANSLATOR, device())
    halfway, returned = {}, {}
    for language, other in (("en", "zh"), ("zh", "en")):
        side = [
            text
            for text in dict.fromkeys(texts)
            if language == ("zh" if _CHINESE.search(text) else "en")
        ]
        middle = Translator(model, its_tokenizer, other)(side)
        back = Translator(model, its_tokenizer, language)(
            [text if text.strip() else "." for text in middle]
        )
        halfway |= dict(zip(side, middle, strict=True))
        returned |= {
            text: end if half.strip() else ""
            for text, half, end in zip(side, middle, back, strict=True)
        }
    found = back_translate(
        texts, lambda text: text, returned.__getitem__
    )  # both ways are done: in batches, above
    return [halfway[text] for text in texts], found


def _plan(n_train: int | None, steps: int | None) -> dict:
    return {"steps": steps or STEPS[n_train], "learning_rate": LEARNING_RATE}
