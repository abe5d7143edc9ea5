"""Attention maps of one head, models side by side."""

from moe_lib.views.attention_view.widget import AttentionViewer, attention_figure, view_attention

__all__ = ["AttentionViewer", "attention_figure", "view_attention"]
