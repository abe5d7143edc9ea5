"""The ledger: every checkable statement of the article, with its verdict and where it is tested.

    from moe_course.article.ledger import load_ledger
    [row.id for row in load_ledger().select(verdict="false", chapter="11")]

rows.py      what a row is; reading and filtering
wording.py   what verdicts and parts are called, in English and Chinese
evidence.py  do the headings, tests and numbers exist that a row names?
quotes.py    `python -m moe_course.article.ledger.quotes ARTICLE`: are the quotes in the article?
page.py      `python -m moe_course.article.ledger.page`: the page for the article's readers
data/        the rows, a file for each part of the article; sources; the chapters in Chinese
"""

from moe_course.article.ledger.rows import VERDICTS, Ledger, Row, load_ledger

__all__ = ["VERDICTS", "Ledger", "Row", "load_ledger"]
