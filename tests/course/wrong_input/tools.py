"""Measures of the data, the suite's reports, and the article's claims."""

import torch

from moe_course.article.ledger.rows import DATA as LEDGER
from moe_course.article.ledger.rows import the_ledger
from moe_course.suite.reports import Report
from moe_lib.paths import DATA
from tests.course.wrong_input.made import file, folder, notebook
from tests.wrong_input.table import COUNT, NAN, PATH, SHARE, TEXT, Entry


def ids(*shape):
    return torch.ones(shape, dtype=torch.long)


TOOLS = "moe_course.data_tools."
LISTS = ["one text", None, 3, [3]]
DATA_TOOLS = [
    Entry(TOOLS + "quality.words", lambda: dict(text="a b"), dict(text=[5, *TEXT])),
    Entry(
        TOOLS + "quality.distinct_ngram_ratio",
        lambda: dict(texts=["a b c"], n=1),
        dict(texts=[*LISTS, [], [""]], n=COUNT),
    ),
    Entry(
        TOOLS + "quality.near_duplicate_share",
        lambda: dict(texts=["a b c"]),
        dict(texts=[*LISTS, []], threshold=[*SHARE, 1.0], shingle_size=COUNT),
    ),
    Entry(
        TOOLS + "quality.first_words",
        lambda: dict(texts=["a b c"], count=2),
        dict(texts=LISTS, count=[*COUNT, 4]),
    ),
    Entry(
        TOOLS + "quality.report",
        lambda: dict(folder=DATA / "corpora"),
        dict(folder=[*PATH, lambda: folder()]),
    ),
    Entry(TOOLS + "task_measures.normalised", lambda: dict(text="A"), dict(text=TEXT)),
    Entry(
        TOOLS + "task_measures.cross_duplicates",
        lambda: dict(splits={"train": ["a b c"], "test": ["a b d"]}),
        dict(splits=[None, [], {}, {"train": []}, {"train": "text"}, {"train": [3]}]),
    ),
    Entry(
        TOOLS + "task_measures.best_sentences",
        lambda: dict(contexts=["A cat."], questions=["A cat?"], fit_on=["A cat."]),
        dict(contexts=LISTS, questions=[*LISTS, []], fit_on=[*LISTS, [], ["the of"]]),
    ),
    Entry(
        TOOLS + "task_measures.retrieval_recall",
        lambda: dict(products=["cat"], requests=["cat"], relevant=[{0}], k=1),
        dict(
            products=[*LISTS, []],
            requests=[*LISTS, []],
            relevant=[None, [], [3], [{"a"}], "0"],
            k=COUNT,
        ),
    ),
    Entry(
        TOOLS + "measure_tasks.measure", lambda: dict(name="summaries"), dict(name=["x", None, 3])
    ),
    Entry("moe_lib.tuning.overlap.sentences", lambda: dict(text="A cat."), dict(text=TEXT)),
]

SUITE = [
    Entry(
        "moe_course.suite.reports.code_cells",
        lambda: dict(notebook=file(notebook(), "a.ipynb")),
        dict(notebook=[*PATH, lambda: file("{", "a.ipynb"), lambda: file("{}", "a.ipynb")]),
    ),
    Entry(
        "moe_course.suite.reports.read_report",
        lambda: dict(path=folder() / "none.xml"),
        dict(path=PATH),
    ),
    Entry(
        "moe_course.suite.reports.notebook_of",
        lambda: dict(classname="a"),
        dict(classname=TEXT[:3]),
    ),
    Entry(
        "moe_course.suite.reports.missing_notebooks",
        lambda: dict(report=Report(), listed=["a.ipynb"], folder=folder()),
        dict(report=[None, {}], listed=["a", None, [3]], folder=[None, "a"]),
    ),
]

ARTICLE = [
    Entry(
        "moe_course.article.masked_words.unigram_loss",
        lambda: dict(read=ids(2, 3), labels=ids(2, 3), vocab_size=5),
        {
            "read": [None, "x", ids(2, 3) * 5, -ids(2, 3), torch.ones(2)],
            "labels": [None, ids(2, 3) * 5, -100 * ids(2, 3), -ids(2, 3), torch.ones(2)],
            "vocab_size": COUNT,
        },
    ),
    Entry(
        "moe_course.article.masked_words.swapped_labels",
        lambda: dict(labels=ids(2, 3)),
        dict(labels=["x", None, [1], ids(3), torch.ones(2, 3)]),
    ),
    Entry(
        "moe_course.article.masked_words.conditional_gradients",
        lambda: dict(theta=torch.zeros(2, 3)),
        dict(theta=[None, "x", torch.zeros(3), ids(2, 3), torch.full((2, 3), NAN)]),
    ),
    Entry(
        "moe_course.article.ledger.load_ledger",
        lambda: dict(folder=LEDGER),
        dict(folder=[*PATH, lambda: folder()]),
    ),
    Entry(
        "moe_course.article.ledger.rows.Ledger.select",
        lambda: dict(self=the_ledger(), verdict="false", part="4", chapter="04", text="gradient"),
        dict(verdict=["maybe", "", 3], part=["0", "44", 4], chapter=["4", "99", 4], text=[3, None]),
    ),
    Entry("moe_course.article.ledger_view.LedgerView", dict, dict(ledger=["x", 3, []])),
    Entry(
        "moe_course.article_listing.tiny_bert",
        lambda: dict(kind="BertForQuestionAnswering"),
        dict(kind=["nope", "", None, 3, "BertNope"]),
    ),
]

ENTRIES = [*DATA_TOOLS, *SUITE, *ARTICLE]
