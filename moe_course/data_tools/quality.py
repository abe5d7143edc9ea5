"""Measure how varied a collection of texts is: distinct n-grams, and near copies.

    python -m moe_course.data_tools.quality data/corpora

prints one line per corpus, and beside its numbers those of Python's own reference texts
(pydoc_data.topics), cut to the same number of words.

Sources: distinct n-grams, Li et al., "A Diversity-Promoting Objective Function for Neural
Conversation Models", NAACL 2016; shingles and their Jaccard similarity, Broder, "On the resemblance
and containment of documents", 1997.
"""

import re
import sys
from itertools import combinations
from pathlib import Path

from moe_lib.console import Parser, run_command
from moe_lib.errors import refusal, require
from moe_lib.text.corpora.readers import read_documents
from moe_lib.validation import Count, PathLike, Share, Text, Texts, checked

# A Chinese character counts as a word: Chinese is written without spaces between words.
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:'\w+)?")


@checked
def words(text: Text) -> list[str]:
    """The words of a text in lower case, without punctuation; each Chinese character is a word."""
    return _WORD.findall(text.lower())


@checked
def distinct_ngram_ratio(texts: Texts, n: Count) -> float:
    """The number of different n-grams of words divided by the number of all n-grams, from 0 to 1.

    n-grams don't cross from one text to the next. The ratio falls as texts get longer, whoever
    wrote them, so compare only collections with the same number of words (see first_words).

    Raises ValueError if n is below 1 or no text has n words.
    """
    grams = [gram for text in texts for gram in _ngrams(words(text), n)]
    if not grams:
        raise ValueError(
            f"texts: got {len(texts)} texts without {n} words in a row; wants at least one"
        )
    return len(set(grams)) / len(grams)


@checked
def near_duplicate_share(texts: Texts, threshold: Share = 0.3, shingle_size: Count = 5) -> float:
    """The share of texts, from 0 to 1, that have a near copy among the others.

    A text becomes the set of its shingles (runs of `shingle_size` words; characters in Chinese).
    Two texts are near copies if |A and B| / |A or B| is above `threshold`. Exact. It compares all
    pairs, which is quick for hundreds of texts; for thousands see near_duplicates.py.

    Raises ValueError if `texts` is empty, `threshold` is not in [0, 1), or `shingle_size` is below
    1.
    """
    require(len(texts) > 0, "texts", texts, "at least one text")
    require(threshold < 1, "threshold", threshold, "a number from 0 up to 1, not 1 itself")
    # A text shorter than a shingle is one shingle, so that copies of short texts are found too.
    sets = [set(_ngrams(found, min(shingle_size, len(found) or 1))) for found in map(words, texts)]
    copies = set()
    for (i, first), (j, second) in combinations(enumerate(sets), 2):
        common = len(first & second)
        if common > threshold * (len(first) + len(second) - common):
            copies |= {i, j}
    return len(copies) / len(texts)


@checked
def first_words(texts: Texts, count: Count) -> list[str]:
    """The texts from the first on, until they have `count` words; the last one is cut.

    The result has no punctuation. Raises ValueError if the texts have fewer words than that.
    """
    chosen, left = [], count
    for text in texts:
        found = words(text)[:left]
        chosen.append(" ".join(found))
        left -= len(found)
        if left == 0:
            return chosen
    raise ValueError(refusal("count", count, f"at most {count - left}, the words of the texts"))


def _ngrams(found: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]


@checked
def report(folder: PathLike) -> str:
    """A Markdown table with one row per corpus below `folder`.

    Columns: documents, bytes (UTF-8, the texts only), words, distinct 1-, 2- and 3-grams (and,
    after the slash, those of the reference prose cut to the same number of words), the share of
    near copies.

    Raises ValueError if `folder` holds no corpus or one of them is damaged.
    """
    from pydoc_data.topics import topics

    reference = [topics[name] for name in sorted(topics)]
    paths = sorted(Path(folder).glob("*/documents.jsonl"))
    if not paths:
        raise ValueError(f"{folder}: has no folder with a documents.jsonl")
    rows = [
        "| corpus | documents | bytes | words | distinct-1 | distinct-2 | distinct-3 | near "
        "copies |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for path in paths:
        texts = [document["text"] for document in read_documents(path)]
        total = sum(len(words(text)) for text in texts)
        same_size = first_words(reference, total)
        ratios = [
            f"{distinct_ngram_ratio(texts, n):.3f} / {distinct_ngram_ratio(same_size, n):.3f}"
            for n in (1, 2, 3)
        ]
        size = sum(len(text.encode()) for text in texts)
        share = f"{near_duplicate_share(texts):.1%}"
        rows.append(
            f"| {path.parent.name} | {len(texts)} | {size:,} | {total:,} | "
            f"{' | '.join(ratios)} | {share} |"
        )
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> None:
    parser = Parser(prog="python -m moe_course.data_tools.quality", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    print(report(parser.parse_args(arguments).folder))


if __name__ == "__main__":
    sys.exit(run_command(main))
