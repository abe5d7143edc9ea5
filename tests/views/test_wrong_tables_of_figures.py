"""Figures name the table, and the playground the argument, that does not fit."""

import pandas as pd
import pytest

from moe_lib.text import pack
from moe_lib.views.figures.overfitting import effects_figure
from moe_lib.views.figures.routing import moves_figure
from moe_lib.views.figures.seeds import curves_figure
from moe_lib.views.figures.text import packing_figure
from moe_lib.views.router_playground import RouterPlayground

BELOW = {"a": pd.DataFrame({0: [-1.0, 2.0]}, index=[-1, 2])}


class Learned:
    moves, recall = "many", 0.5


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        (r"runs\['a'\]", lambda: moves_figure({"a": [Learned()]})),
        (r"runs\['a'\]", lambda: moves_figure({"a": [5]})),
        (r"effects\['a'\]\['b'\]", lambda: effects_figure({"a": {"b": ["x"]}}, "x")),
        ("packed", lambda: packing_figure([3], pack([[1, 2], [3, 4]], 2, 0), 0)),
        (r"curves\['a'\]", lambda: curves_figure(BELOW, "x", "y", logy=True)),
        (r"curves\['a'\]", lambda: curves_figure(BELOW, "x", "y", logx=True)),
        ("experts", lambda: RouterPlayground(experts=[])),
        ("temprature", lambda: RouterPlayground(temprature=1)),
    ],
)
def test_it_is_named(argument, call):
    with pytest.raises((ValueError, TypeError), match=f"^{argument}: got .*; wants "):
        call()
