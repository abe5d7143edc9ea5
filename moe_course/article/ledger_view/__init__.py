"""The ledger as a widget: filter it by verdict, part, chapter and words."""

from moe_course.article.ledger_view.widget import LedgerView

__all__ = ["LedgerView"]
