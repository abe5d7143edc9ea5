"""How a tokenizer cuts a text."""

from moe_lib.views.token_view.table import TokenTable
from moe_lib.views.token_view.widget import TokenView

__all__ = ["TokenTable", "TokenView"]
