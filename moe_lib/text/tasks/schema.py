"""What each labelled set holds: its splits, its fields, and the features they become.

A field has a kind:

text         a string that is not empty                          -> Value("string")
choice       a string, one of `names`                            -> Value("string")
label        a string, one of `names`                            -> ClassLabel(names)
ids          a list of different product ids                     -> List(Value("string"))
translation  {"en": text, "zh": text}                            -> Translation(["en", "zh"])
answers      {"text": [...], "answer_start": [...]}, as SQuAD 2  -> the same, as lists
price        a number above 0                                    -> Value("float64")
attributes   an object whose keys differ from row to row         -> Value("string"), holding JSON
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    kind: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One labelled set: `fields` in the order of its columns, `splits` as the names of its
    files."""

    fields: dict[str, Field]
    splits: tuple[str, ...] = ("train", "validation", "test")
    label: str | None = None  # the column to predict, in the classified sets


TEXT = Field("text")
LANGUAGE = Field("label", ("en", "zh"))
OUT_OF_SCOPE = "out_of_scope"
INTENTS = (
    "account_access",
    "cancel_order",
    "change_address",
    "complaint_service",
    "damaged_item",
    "discount_code",
    "order_status",
    "payment_problem",
    "product_question",
    "refund_missing",
    "return_item",
    "subscription_change",
    OUT_OF_SCOPE,
)
SENTIMENTS = ("negative", "neutral", "positive")

TASKS = {
    "support_intent": Task(
        {"id": TEXT, "text": TEXT, "intent": Field("label", INTENTS), "language": LANGUAGE},
        label="intent",
    ),
    "market_sentiment": Task(
        {
            "id": TEXT,
            "text": TEXT,
            "label": Field("label", SENTIMENTS),
            "kind": Field("choice", ("headline", "post")),
        },
        label="label",
    ),
    "qa_spans": Task(
        {"id": TEXT, "title": TEXT, "context": TEXT, "question": TEXT, "answers": Field("answers")}
    ),
    "translation_en_zh": Task(
        {"id": TEXT, "translation": Field("translation"), "origin": TEXT},
        splits=("train", "validation", "test_combinations", "test_free"),
    ),
    "summaries": Task({"id": TEXT, "text": TEXT, "summary": TEXT, "theme": TEXT}),
    "catalogue": Task(
        {"id": TEXT, "request": TEXT, "language": LANGUAGE, "product_ids": Field("ids")}
    ),
}
PRODUCT_FIELDS = {
    "id": TEXT,
    "name": TEXT,
    "category": TEXT,
    "price": Field("price"),
    "description": TEXT,
    "attributes": Field("attributes"),
}
DOCUMENT_FIELDS = {"text": TEXT, "domain": TEXT, "source": TEXT}  # the columns of load_corpus


def features(fields: dict[str, Field]):
    """The fields as datasets.Features."""
    from datasets import ClassLabel, Features, List, Translation, Value

    def feature(field: Field):
        if field.kind == "label":
            return ClassLabel(names=list(field.names))
        if field.kind == "ids":
            return List(Value("string"))
        if field.kind == "translation":
            return Translation(languages=["en", "zh"])
        if field.kind == "answers":
            return {"text": List(Value("string")), "answer_start": List(Value("int32"))}
        return Value("float64" if field.kind == "price" else "string")

    return Features({name: feature(field) for name, field in fields.items()})
