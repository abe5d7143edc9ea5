"""Compare the ledger's quotes with the article, and note which ones were found.

    python -m moe_course.article.ledger.quotes ARTICLE

ARTICLE is the article as a text file; it is not part of the course. data/quotes.json then holds a
short hash for each quote that stands in its section, so that a quote which is changed later, and
not compared again, fails a test also where the article is not at hand.
"""

import re
import sys
from hashlib import sha256

from moe_course.article.ledger.rows import DATA, Ledger, Row, the_ledger
from moe_lib.console import Parser, first_paragraph, run_command, text_file
from moe_lib.files import write_json

QUOTES = DATA / "quotes.json"
_HEADING = re.compile(r"^(?:#{2,4} (\d(?:\.\d)*)\.? |\*\*(Q\d): )", re.MULTILINE)


def sections(article: str) -> dict[str, str]:
    """The article's sections, "3.2.1" or "9 Q2" -> text without spaces; each without those under
    it."""
    found = list(_HEADING.finditer(article))
    ends = [match.start() for match in found[1:]] + [len(article)]
    return {
        match[1] or f"9 {match[2]}": squeezed(article[match.start() : end])
        for match, end in zip(found, ends, strict=True)
    }


def squeezed(text: str) -> str:
    """`text` without white space: a formula is broken into lines differently from place to
    place."""
    return "".join(text.split())


def not_in_article(ledger: Ledger, article: str) -> list[str]:
    """The ids of the rows whose quote does not stand in their section of the article."""
    parts = sections(article)
    return [row.id for row in ledger.rows if squeezed(row.quote) not in parts.get(row.section, "")]


def mark(row: Row) -> str:
    """A short hash of a row's section and quote."""
    return sha256(f"{row.section} {squeezed(row.quote)}".encode()).hexdigest()[:12]


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = Parser("moe_course.article.ledger.quotes", description=first_paragraph(__doc__))
    parser.add_argument("article", type=text_file, metavar="ARTICLE")
    article, ledger = parser.parse_args(arguments).article, the_ledger()
    lost = not_in_article(ledger, article)
    if lost:
        print(f"error: not in their section of the article: {', '.join(lost)}", file=sys.stderr)
        return 1
    write_json(QUOTES, {row.id: mark(row) for row in ledger.rows})
    print(f"{len(ledger.rows)} quotes stand in their sections")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
