"""The public sets: where each is, how its files are read, and how its columns become ours."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from moe_lib.text.tasks import public_files as files
from moe_lib.text.tasks.schema import OUT_OF_SCOPE, SENTIMENTS, TASKS

CORPUS = "corpus"
_TOPICS = ("World", "Sports", "Business", "Sci/Tech")  # AG News, in the order of its labels 0 to 3
_TNEWS = {
    "100": "news_story",
    "101": "news_culture",
    "102": "news_entertainment",
    "103": "news_sports",
    "104": "news_finance",
    "106": "news_house",
    "107": "news_car",
    "108": "news_edu",
    "109": "news_tech",
    "110": "news_military",
    "112": "news_travel",
    "113": "news_world",
    "114": "news_stock",
    "115": "news_agriculture",
    "116": "news_game",
}


@dataclass(frozen=True)
class PublicSet:
    like: str  # the set of ours that has the same features, or CORPUS: the columns of load_corpus
    title: str
    hub: tuple[str, str | None, str | None]  # repository, configuration, revision
    convert: Callable[
        [dict, str], dict
    ]  # a row of the Hub and an id for it -> a row of ours, not checked yet
    read: Callable[[Path], files.Rows] | None = None  # how other files are read
    originals: tuple[
        str, ...
    ] = ()  # what the original files are called, besides *.parquet, *.jsonl and *.csv
    names: tuple[str, ...] = ()  # the labels, where they are few; otherwise the set's own are used
    kind: str = ""  # what stands in the column "kind"
    tables: tuple[str, ...] = (".parquet", ".jsonl", ".csv")  # files with the columns of the Hub


def _need(row: dict, *columns: str) -> object:
    """The first of these columns that the row has."""
    for column in columns:
        if column in row:
            return row[column]
    raise ValueError(f'has no "{columns[0]}"; it has {", ".join(map(str, row)) or "nothing"}')


def _squad(row: dict, row_id: str) -> dict:
    return {name: _need(row, name) for name in TASKS["qa_spans"].fields}


def _topic(
    names: tuple[str, ...], texts: tuple[str, ...], kind: str
) -> Callable[[dict, str], dict]:
    """For sets with a text, in one of these columns, and a label that is a name or a number into
    `names`."""

    def convert(row: dict, row_id: str) -> dict:
        text = _need(row, *texts)
        return {
            "id": row_id,
            "text": text,
            "label": _named(_need(row, "label"), names),
            "kind": kind,
        }

    return convert


def _named(label: object, names: tuple[str, ...]) -> object:
    if isinstance(label, str) and label.isdecimal():  # CSV files hold numbers as text
        label = int(label)
    return names[label] if type(label) is int and 0 <= label < len(names) else label


def _tnews(row: dict, row_id: str) -> dict:
    label = row.get("label")  # the test part of TNEWS has none
    if type(label) is int and 0 <= label < len(_TNEWS):  # the Hub counts from 0
        label = list(_TNEWS)[label]
    label = _TNEWS.get(str(label), label)
    return {"id": row_id, "text": _need(row, "sentence"), "label": label, "kind": "headline"}


def _intent(*columns: str) -> Callable[[dict, str], dict]:
    """For sets whose intent is a name, in one of these columns."""

    def convert(row: dict, row_id: str) -> dict:
        intent = _need(row, *columns)
        if (type(intent) is int and intent >= 0) or (
            isinstance(intent, str) and intent.isdecimal()
        ):
            raise ValueError(
                f"has the number {intent!r} as its label; wants a name, as in the original files"
            )
        intent = OUT_OF_SCOPE if intent == "oos" else intent
        return {"id": row_id, "text": _need(row, "text"), "intent": intent, "language": "en"}

    return convert


def _pair(row: dict, row_id: str) -> dict:
    pair = _need(row, "translation")
    return {"id": row_id, "translation": pair, "origin": "OPUS-100"}


def _summary(text: str, theme: str) -> Callable[[dict, str], dict]:
    def convert(row: dict, row_id: str) -> dict:
        row_id = str(row.get("id") or row_id)
        return {
            "id": row_id,
            "text": _need(row, text),
            "summary": _need(row, "summary"),
            "theme": theme,
        }

    return convert


def _document(domain: str) -> Callable[[dict, str], dict]:
    return lambda row, row_id: {"text": _need(row, "text"), "domain": domain, "source": row_id}


PUBLIC_SETS = {
    "ag_news": PublicSet(
        "market_sentiment",
        "AG News",
        ("fancyzhx/ag_news", None, None),
        _topic(_TOPICS, ("text",), "news"),
        files.ag_news_rows,
        ("train.csv", "test.csv"),
        names=_TOPICS,
        kind="news",
        tables=(".parquet", ".jsonl"),
    ),
    "banking77": PublicSet(
        "support_intent",
        "Banking77",
        ("legacy-datasets/banking77", None, None),
        _intent("category", "label_text", "label"),
    ),
    "clinc150": PublicSet(
        "support_intent",
        "CLINC150",
        ("clinc/clinc_oos", "plus", None),
        _intent("intent"),
        files.clinc_rows,
        ("data_full.json",),
    ),
    "financial_phrasebank": PublicSet(
        "market_sentiment",
        "Financial PhraseBank",
        # takala/financial_phrasebank itself needs a script, which `datasets` no longer runs.
        ("mteb/FinancialPhrasebankClassification", None, None),
        _topic(SENTIMENTS, ("sentence", "text"), "sentence"),
        files.phrasebank_rows,
        ("Sentences_AllAgree.txt",),
        names=SENTIMENTS,
        kind="sentence",
    ),
    "lcsts": PublicSet(
        "summaries",
        "LCSTS",
        ("hugcyp/LCSTS", None, None),
        _summary("text", "microblog"),
        files.lcsts_rows,
        ("PART_I.txt", "PART_II.txt", "PART_III.txt"),
    ),
    "opus100_en_zh": PublicSet(
        "translation_en_zh",
        "OPUS-100 English-Chinese",
        ("Helsinki-NLP/opus-100", "en-zh", None),
        _pair,
        files.opus_rows,
        ("*en-zh-*.en",),
    ),
    "squad_v2": PublicSet(
        "qa_spans",
        "SQuAD 2",
        ("rajpurkar/squad_v2", None, None),
        _squad,
        files.squad_rows,
        ("*-v2.0.json",),
    ),
    "tinystories": PublicSet(
        CORPUS,
        "TinyStories",
        ("roneneldan/TinyStories", None, None),
        _document("tinystories"),
        files.story_rows,
        ("*-train.txt", "*-valid.txt"),
    ),
    "tnews": PublicSet(
        "market_sentiment",
        "TNEWS of CLUE",
        ("clue/clue", "tnews", None),
        _tnews,
        files.json_lines,
        ("train.json", "dev.json", "test.json"),
        names=tuple(_TNEWS.values()),
        kind="headline",
    ),
    "wikitext": PublicSet(
        CORPUS,
        "WikiText",
        ("Salesforce/wikitext", "wikitext-2-raw-v1", None),
        _document("wikitext"),
        files.text_lines,
        ("wiki.*.raw", "wiki.*.tokens"),
    ),
    "xsum": PublicSet(
        "summaries",
        "XSum",
        ("EdinburghNLP/xsum", None, "refs/convert/parquet"),
        _summary("document", "news"),
        files.xsum_rows,
        ("*SPLIT*.json",),
    ),
}
