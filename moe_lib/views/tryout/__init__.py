"""A text, a question, and what a fine-tuned model says."""

from moe_lib.views.tryout.widget import TryOut

__all__ = ["TryOut"]
