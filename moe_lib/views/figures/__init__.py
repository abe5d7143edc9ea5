"""Figures without a widget, a module per subject."""
