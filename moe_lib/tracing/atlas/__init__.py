"""What every expert of a model takes: many texts read in parts, then counted with controls."""

from moe_lib.tracing.atlas.facts import Atlas, AtlasLayer, atlas_of
from moe_lib.tracing.atlas.reading import ReadTexts, Window, cut_windows, read_windows

__all__ = ["Atlas", "AtlasLayer", "ReadTexts", "Window", "atlas_of", "cut_windows", "read_windows"]
