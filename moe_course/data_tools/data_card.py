"""Write data/README.md, the table of everything in data/, from the data itself.

    python -m moe_course.data_tools.data_card

Run it after a change to the data; a test compares the file with what this gives.
"""

import json
import sys

from moe_lib.console import Parser, first_paragraph, run_command
from moe_lib.paths import DATA
from moe_lib.text.corpora.readers import read_documents
from moe_lib.text.tasks.load import load_products, load_task
from moe_lib.text.tasks.public_sets import CORPUS, PUBLIC_SETS
from moe_lib.text.tasks.schema import TASKS

SAMPLE = 110  # characters of a sample row
LICENCE = "CC BY 4.0"
PYTHON = "Python's (PSF), not shipped"

# What needs words: name, purpose. The counts and samples are read.
_PYTHON = {
    # A stable beginning of a document stands for it: the texts come from the reader's own Python.
    "python_code": ("programs, for the pretraining mixture", '__all__ = ["pickle", "constructor",'),
    "python_docstrings": (
        "short technical descriptions",
        "Heap queue algorithm (a.k.a. priority queue).",
    ),
    "python_reference": (
        "a manual's prose; the tokenizer learned from all three",
        'The "assert" statement',
    ),
}
_PACKAGE_DOCS = [
    "package_docs",
    "a longer pretraining: the docstrings of the course's pinned packages, read where they are installed",
    "text, domain, source",
    "about 50,000 docstrings, 36 MB",
    "each package's own, not shipped",
    '`load_corpus("package_docs")`',
    "`Applies an affine linear transformation to the incoming data: …`",
]
_WRITTEN = {
    "arithmetic": "worked exercises and puzzles",
    "chinese": "simplified Chinese prose on the other themes",
    "customer_service": "conversations between customer and agent",
    "market_news": "reports from invented markets",
    "science_notes": "short notes on science",
    "stories": "everyday stories",
}
_TASKS = {
    "support_intent": "say what a customer wants: 12 intents and out of scope",
    "market_sentiment": "tell bad, neutral and good news for a holder",
    "qa_spans": "find the answer in a passage, or that there is none",
    "translation_en_zh": "translate English and Chinese",
    "summaries": "say a passage in one sentence",
    "catalogue": "find the products that fit a request",
}


def card() -> str:
    """The whole text of data/README.md."""
    rows = [*_python_rows(), _PACKAGE_DOCS, *_corpus_rows(), *_task_rows(), *_other_rows()]
    head = (
        "| set | what for | form | counts | licence | load with | a sample, shortened |\n"
        + "|---" * 7
        + "|\n"
    )
    table = head + "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return _TEXT.format(table=table, public=_public_table())


def _python_rows() -> list[list[str]]:
    form = "text, domain, source"
    counts = "depend on the Python version"
    return [
        [name, purpose, form, counts, PYTHON, _code(f'load_corpus("{name}")'), _code(f"{start} …")]
        for name, (purpose, start) in _PYTHON.items()
    ]


def _corpus_rows() -> list[list[str]]:
    rows = []
    for folder in sorted((DATA / "corpora").glob("*/documents.jsonl")):
        name = folder.parent.name
        texts = [document["text"] for document in read_documents(folder)]
        counts = f"{len(texts)} documents, {sum(len(text.encode()) for text in texts):,} bytes"
        link = f"[{name}](corpora/README.md)"
        load = _code(f'load_corpus("{name}")')
        rows.append(
            [link, _WRITTEN[name], "text, domain, source", counts, LICENCE, load, _sample(texts[0])]
        )
    return rows


def _task_rows() -> list[list[str]]:
    rows = []
    for name, purpose in _TASKS.items():
        task = load_task(name)
        counts = ", ".join(f"{split} {len(part):,}" for split, part in task.items())
        form, load = ", ".join(TASKS[name].fields), _code(f'load_task("{name}")')
        if name == "catalogue":
            counts = f"{len(load_products())} products; requests: {counts}"
            load += " and " + _code("load_products()")
        first = next(
            row for row in _lines(name) if not row.get("answers") or row["answers"]["text"]
        )
        values = {key: value for key, value in first.items() if key != "id"}
        rows.append(
            [
                f"[{name}](tasks/{name}/README.md)",
                purpose,
                form,
                counts,
                LICENCE,
                load,
                _task_sample(values),
            ]
        )
    return rows


def _synonyms_row() -> list[str]:
    lines = {
        name: (DATA / "synonyms" / name).read_text(encoding="utf-8").splitlines()
        for name in ("en.tsv", "zh.tsv")
    }
    counts = ", ".join(f"{name} {len(rows):,} words" for name, rows in lines.items())
    sample = _code(" -> ".join(lines["en.tsv"][0].split("\t")[:2]))
    return [
        "[synonyms](synonyms/README.md)",
        "augment small training sets",
        "a word, then words that may replace it",
        counts,
        LICENCE,
        _code("moe_lib.tuning.robust.Synonyms"),
        sample,
    ]


def _other_rows() -> list[list[str]]:
    rows = []
    for folder, call in (
        ("tokenizer", "load_tokenizer()"),
        ("tokenizer/mixture", 'load_tokenizer("mixture")'),
        ("tokenizer/mixture-small", 'load_tokenizer("mixture-small")'),
    ):
        tokens = len(
            json.loads((DATA / folder / "tokenizer.json").read_text(encoding="utf-8"))["model"][
                "vocab"
            ]
        )
        rows.append(
            [
                f"[{folder}]({folder}/README.md)",
                "text to token ids and back",
                "tokenizer.json, byte-level BPE",
                f"{tokens:,} tokens",
                "see its card",
                _code(call),
                _code("1024 -> 1, 0, 2, 4"),
            ]
        )
    return [
        *rows,
        [
            "checkpoints",
            "trained models, so that a lesson need not wait",
            "a folder each: config.json, model.safetensors, tokenizer.json",
            "see the folder",
            "see its card",
            _code("load_checkpoint(name)"),
            "",
        ],
        _synonyms_row(),
        [
            "studies",
            "long comparisons, run beforehand",
            "JSON: the command, date and versions, then every run",
            f"{len(list((DATA / 'studies').glob('*.json')))} files",
            "measured here",
            "see the notebook that shows it",
            "",
        ],
    ]


def _lines(name: str) -> list[dict]:
    text = (DATA / "tasks" / name / "train.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def _task_sample(values: dict) -> str:
    """The fields of one row, each cut, so that the last is seen too."""
    pieces = _leaves(values)
    return _code("; ".join(_cut(piece, max(SAMPLE // len(pieces), 24)) for piece in pieces))


def _leaves(value: object) -> list[str]:
    """The texts and numbers in a row, without the braces around them."""
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in _leaves(part)]
    return (
        [leaf for part in value for leaf in _leaves(part)]
        if isinstance(value, list)
        else [str(value)]
    )


def _sample(text: str) -> str:
    return _code(_cut(text, SAMPLE))


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _code(text: str) -> str:
    """As code in a Markdown table: neither a backtick nor a bar may end it."""
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def _public_table() -> str:
    rows = ["| `load_task(…)` | set | columns of | on the Hub | local files |", "|---" * 5 + "|"]
    for name, public in sorted(PUBLIC_SETS.items()):
        like = "load_corpus" if public.like == CORPUS else public.like
        originals = ", ".join(_code(pattern) for pattern in public.originals)
        hub = " ".join(part for part in public.hub[:2] if part)
        rows.append(
            f"| {_code('public:' + name)} | {public.title} | {like} | {hub} | {originals} |"
        )
    return "\n".join(rows)


_TEXT = """\
# data

What the course reads, and needs no network for. `python -m moe_course.data_tools.data_card` writes this page from the data.
The functions are in `moe_lib.text`, `load_checkpoint` in `moe_lib`.

{table}

Everything but the Python corpora was written for this course by a language model, or trained or generated here; each
set's card says how, with its measures and known biases. Names, firms and products are invented. The licence is that of
the course's authors ("The moe_lib course authors"). Rows of labelled sets are checked whenever they are loaded, and
`python -m moe_course.data_tools.measure_tasks` measures the numbers of their cards again.

## Public sets, with the same call

They are not part of the course. `load_task("public:NAME")` takes them from the Hugging Face Hub;
`load_task("public:NAME", path=...)` from a local copy, a file or a folder: the files as first published, named here, or
`.parquet`, `.jsonl` and `.csv` files with the columns of the Hub and "train", "validation" or "test" in their names.
Without either, an error says in one line what the course uses instead. Mind each set's own licence.

{public}
"""


def main(arguments: list[str] | None = None) -> None:
    Parser(
        prog="python -m moe_course.data_tools.data_card", description=first_paragraph(__doc__)
    ).parse_args(arguments)
    path = DATA / "README.md"
    path.write_text(card(), encoding="utf-8", newline="\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(run_command(main))
