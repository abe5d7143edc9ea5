"""Drawings made by code: SVG with words in it, readable in light and dark.

DRAWINGS   name -> the function that makes it, one in each module of that name

To add one: a module with a function of the same name that draws on a `Canvas` and returns
`canvas.drawing()`, and its name in DRAWINGS. Colours are hues of the palette, given by number; the
canvas refuses texts that do not fit their boxes, and the tests look at every drawing listed here.
"""

from moe_lib.views.drawings.capacity_seats import capacity_seats
from moe_lib.views.drawings.latent_cache import latent_cache
from moe_lib.views.drawings.moe_layer import moe_layer
from moe_lib.views.drawings.residual_stream import residual_stream
from moe_lib.views.drawings.rotating_pairs import rotating_pairs
from moe_lib.views.drawings.two_machines import two_machines

DRAWINGS = {
    "capacity_seats": capacity_seats,
    "latent_cache": latent_cache,
    "moe_layer": moe_layer,
    "residual_stream": residual_stream,
    "rotating_pairs": rotating_pairs,
    "two_machines": two_machines,
}
__all__ = ["DRAWINGS"]  # functions without arguments: there is nothing to refuse
