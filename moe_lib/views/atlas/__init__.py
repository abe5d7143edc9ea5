"""The atlas of a model: one HTML page that says what each expert takes."""

from moe_lib.views.atlas.page import write_atlas

__all__ = ["write_atlas"]
