"""How a tokenizer cuts a text."""

from moe_lib.views.token_view.widget import TokenTable, TokenView

__all__ = ["TokenTable", "TokenView"]
