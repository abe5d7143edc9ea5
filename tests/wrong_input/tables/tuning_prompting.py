"""Wrong input of chats, of answers and of mixtures of tasks."""

import torch

from moe_lib.model import KVCache
from moe_lib.tuning.prompting import PrefixTree, TaskMixture, Translator, chat
from tests.wrong_input.table import (
    COUNT,
    MODEL,
    NAN,
    NATURAL,
    POSITIVE,
    TEXT,
    TEXTS,
    TOKENIZER,
    Entry,
)
from tests.wrong_input.tuning_small import (
    DEVICE,
    IDS,
    LISTS,
    MASK,
    SEED,
    WHOLE_LISTS,
    WRONG_IDS,
    WRONG_MASK,
    base,
    chats,
    classifier,
    rows,
    tokenizer,
)

NAMED = "moe_lib.tuning.prompting."
SAID = chat("Hello there.", "Good day.")
ASKED = [chat("Hello there.")]
OPTIONAL_TEXT = [value for value in TEXT if value is not None]
MESSAGES = [None, 3, "text", [], {}, [3], [None], [{}], [{"role": "user"}], [{"content": "a"}]]
MESSAGES += [[{"role": role, "content": "a"}] for role in ("assistant", "system", "king", None, 3)]
MESSAGES += [[{"role": "user", "content": text}] for text in ("", " ", None, 3, b"a", "\ud800")]
MESSAGES += [[*ASKED[0], *ASKED[0]], [*ASKED[0], {"role": "system", "content": "a"}]]
CHATS = [*LISTS, *([messages] for messages in MESSAGES)]
CHOICES = [*TEXTS, [], ["a", "a"], ["a", ""]]
MASKED = [*MODEL, torch.nn.Linear(2, 2), classifier()]
PAIR = {"en": "one", "zh": "一"}
PRODUCT = {"id": 1, "name": "a coat", "description": "warm"}
REQUEST = {"request": "a coat, please", "product_ids": [1]}
TASKS = {"a": rows(), "b": chats()}
RECORDS = [None, 3, "rows", {}, [3], [None], [{}]]
LABELS = IDS.clone().index_fill(1, torch.tensor([0]), -100)


def asked(name: str, wrong: dict, **valid) -> Entry:
    """A function that lets a model answer."""
    return Entry(
        NAMED + name,
        lambda: dict(model=base(True), tokenizer=tokenizer(), chats=ASKED, **valid),
        {"model": MASKED, "tokenizer": TOKENIZER, "chats": [*CHATS, [SAID]], **wrong},
    )


def cache() -> KVCache:
    found = KVCache()
    base(True)(IDS, cache=found)
    return found


def records(name: str, argument: str, row: dict, **others) -> Entry:
    """A function of rows with texts: every text may be missing or something else."""
    wrong = [
        *RECORDS,
        *([{key: part for key, part in row.items() if key != left}] for left in row),
        *([{**row, left: bad}] for left in row for bad in (None, 3.5, "", {}, b"a")),
    ]
    return Entry(NAMED + name, lambda: {argument: [row], **others}, {argument: wrong})


ENTRIES = [
    Entry(
        NAMED + "AnswerLoss",
        lambda: dict(base=base(True)),
        {"base": [*MODEL, torch.nn.Linear(2, 2), classifier(), base()]},
    ),
    Entry(
        NAMED + "AnswerLoss.forward",
        lambda: dict(input_ids=IDS, attention_mask=MASK, labels=LABELS),
        {
            "input_ids": WRONG_IDS,
            "attention_mask": WRONG_MASK,
            "labels": [None, "labels", [[1]], LABELS.float(), LABELS[0], LABELS[:, :2], IDS]
            + [LABELS * 0 - 100, LABELS * NAN],
            "label_smoothing": [-0.1, 1, True, "0", None, NAN],
        },
        call=lambda arguments: _answer_loss(**arguments),
    ),
    asked("answer", {"max_new_tokens": [*COUNT, 10**6], "batch_size": COUNT}, max_new_tokens=2),
    asked(
        "score_choices",
        {
            "choices": CHOICES,
            "reduce": ["max", None, 3, ["sum"]],
            "batch_size": COUNT,
            "chats": [*CHATS, [], [SAID]],
        },
        choices=["a", "b"],
    ),
    asked("answer_within", {"choices": CHOICES, "beams": COUNT}, choices=["a", "b"]),
    Entry(
        NAMED + "choice_ids",
        lambda: dict(choices=["a", "b"], tokenizer=tokenizer()),
        {"choices": CHOICES, "tokenizer": TOKENIZER},
    ),
    Entry(
        NAMED + "select_rows",
        lambda: dict(cache=cache(), rows=[0, 0]),
        {"cache": [None, "cache", 3, {}, KVCache()], "rows": [*WHOLE_LISTS, [9]]},
    ),
    Entry(
        NAMED + "PrefixTree",
        lambda: dict(sequences=[[1, 2], [3]]),
        {
            "sequences": [None, 3, "ab", [], [[]], [3], ["ab"], [[1.5]], [["a"]], [[True]], [[-1]]]
            + [[[1], [1]], [[1], [1, 2]], [[None]]]
        },
    ),
    Entry(
        NAMED + "PrefixTree.allowed",
        lambda: dict(prefix=[1]),
        {"prefix": [*WHOLE_LISTS, [9]]},
        call=lambda arguments: PrefixTree([[1, 2], [3]]).allowed(**arguments),
    ),
    Entry(
        NAMED + "chat",
        lambda: dict(user="a", answer="b", system="c"),
        {"user": TEXT, "answer": OPTIONAL_TEXT, "system": OPTIONAL_TEXT},
    ),
    Entry(
        NAMED + "chat_ids",
        lambda: dict(messages=SAID, tokenizer=tokenizer()),
        {"messages": MESSAGES, "tokenizer": TOKENIZER, "argument": TEXT},
    ),
    Entry(
        NAMED + "encode_chats",
        lambda: dict(chats=[SAID], tokenizer=tokenizer()),
        {"chats": [*CHATS, ASKED], "tokenizer": TOKENIZER, "max_length": COUNT},
    ),
    Entry(
        NAMED + "encode_prompts",
        lambda: dict(chats=ASKED, tokenizer=tokenizer()),
        {"chats": [*CHATS, [SAID]], "tokenizer": TOKENIZER, "max_length": COUNT},
    ),
    Entry(
        NAMED + "left_padded",
        lambda: dict(rows=[[1, 2], [3]], pad_token_id=0),
        {
            "rows": [*LISTS, [], [[]], ["ab"], [[0.5]], [[None]], [[True]], [["a"]], [[-1]]],
            "pad_token_id": NATURAL,
            "device": DEVICE,
        },
    ),
    Entry(
        NAMED + "TaskMixture",
        lambda: dict(tasks=TASKS, batch_size=2),
        {
            "tasks": [None, 3, "tasks", [], {}, {"a": 3}, {"a": None}, {3: rows()}, {"": rows()}],
            "batch_size": [*COUNT, {"a": 2}, {"a": 2, "b": 0}, {"a": 2, "b": 1.5}, {}],
            "weights": [3, "weights", [1, 1], {"a": 1}, {"a": 1, "b": 0}, {"a": 1, "b": NAN}, {}]
            + [{"a": 1, "b": "1"}, {"a": 1, "b": -1}, {"a": 1, "b": True}],
            "temperature": [*POSITIVE, None],
            "seed": SEED,
        },
    ),
    *(
        Entry(
            f"{NAMED}TaskMixture.{name}",
            lambda: dict(step=0),
            {"step": NATURAL},
            call=lambda arguments, name=name: getattr(TaskMixture(TASKS, 2), name)(**arguments),
        )
        for name in ("at", "task_of")
    ),
    Entry(
        NAMED + "Translator",
        lambda: dict(model=base(True), tokenizer=tokenizer()),
        {
            "model": MASKED,
            "tokenizer": TOKENIZER,
            "target": ["de", "", None, 3, ["zh"]],
            "batch_size": COUNT,
            "max_new_tokens": COUNT,
        },
    ),
    Entry(
        NAMED + "Translator.__call__",
        lambda: dict(texts=["a"]),
        {"texts": TEXTS},
        call=lambda arguments: Translator(base(True), tokenizer(), max_new_tokens=2)(**arguments),
    ),
    records("translation_chats", "pairs", PAIR),
    Entry(
        NAMED + "translation_chats",
        lambda: dict(pairs=[PAIR]),
        {"source": ["de", None, 3, ["en"]], "target": ["de", None, 3, ["zh"]]},
    ),
    Entry(
        NAMED + "translate_into",
        lambda: dict(target="zh"),
        {"target": ["de", "", None, 3, ["zh"]]},
    ),
    records("summary_chats", "rows", {"text": "a", "summary": "b"}),
    records("recommendation_chats", "rows", REQUEST, products=[PRODUCT]),
    Entry(
        NAMED + "recommendation_chats",
        lambda: dict(rows=[REQUEST], products=[PRODUCT]),
        {
            "products": [*RECORDS, [{"id": 1}], [{"name": "a"}], [{"id": 1, "name": 3}]],
            "rows": [[{**REQUEST, "product_ids": [bad]}] for bad in (9, 1.5, None, [1])],
        },
    ),
    records("product_chats", "products", {"description": "warm", "name": "a coat"}),
    Entry(
        NAMED + "style_chat",
        lambda: dict(style="stories", beginning="Once"),
        {
            "style": ["odes", "", None, 3, ["stories"]],
            "beginning": TEXT,
            "text": OPTIONAL_TEXT,
        },
    ),
]


def _answer_loss(**arguments):
    from moe_lib.tuning.prompting import AnswerLoss

    return AnswerLoss(base(True))(**arguments)
