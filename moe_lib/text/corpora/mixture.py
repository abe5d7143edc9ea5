"""What the mixture's tokenizer and models are trained on: Python text, and the written domains
several times over.

The written domains are a twentieth of the mixture. Counted once they would leave no trace in so
short a training.
"""

from moe_lib.errors import require, require_whole

WRITTEN_TIMES = 4
# Read for the tokenizer only, so that the words of the later chapters, Chinese ones above all, are
# not cut to bytes.
_TASK_COLUMNS = {
    "translation_en_zh": ("translation",),
    "support_intent": ("text",),
    "market_sentiment": ("text",),
    "summaries": ("text", "summary"),
    "qa_spans": ("context", "question"),
    "catalogue": ("request",),
}


def repeat_written(documents, times: int = WRITTEN_TIMES):
    """A Dataset with every document that comes neither from Python's own library nor from a package
    `times` times.

    Raises ValueError if `times` is no whole number of at least 1.
    """
    from datasets import concatenate_datasets

    require_whole("times", times)
    columns = sorted(getattr(documents, "column_names", ()))
    wants = "a Dataset with a column 'domain'"
    require("domain" in columns, "documents", f"columns {columns}", wants, TypeError)
    written = [
        index
        for index, domain in enumerate(documents["domain"])
        if not domain.startswith(("python_", "package_"))
    ]
    return concatenate_datasets([documents, *[documents.select(written)] * (times - 1)])


def mixture_texts() -> list[str]:
    """The training side of the mixture and of the labelled sets: what the tokenizer "mixture"
    learns from."""
    from moe_lib.text.corpora.load import load_corpus
    from moe_lib.text.tasks import load_task

    texts = list(repeat_written(load_corpus("mixture", split="train"))["text"])
    for name, columns in _TASK_COLUMNS.items():
        for row in load_task(name)["train"]:
            for column in columns:
                value = row[column]
                texts += value.values() if isinstance(value, dict) else [value]
    return texts
