"""Numbers can be read on every colour, and neighbours in the palette can be told apart without
colour vision."""

import itertools
import re

import numpy as np
import pytest

from moe_lib.views import contrast, expert_colour
from moe_lib.views.kit.assets import VIEWS, style
from moe_lib.views.kit.palette import HUES, variables

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
DEFICIENCIES = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def test_contrast_of_known_pairs():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(
        4.48, abs=0.01
    )  # the grey that just fails WCAG AA


def test_text_can_be_read_on_every_colour():
    # A token brings its own ground and ink, so this holds in light and in dark themes.
    assert min(contrast(c.fill, c.text) for c in map(expert_colour, range(64))) >= 4.5


def test_64_experts_differ_in_fill_or_edge():
    assert len({expert_colour(e) for e in range(64)}) == 64
    assert expert_colour(64) == expert_colour(0)


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def to_lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ) @ rgb.clip(0, 1)
    x, y, z = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("name", DEFICIENCIES)
def test_the_eight_hues_stay_apart_for_colour_blind_readers(name):
    seen = [to_lab(np.array(DEFICIENCIES[name]) @ linear(hue)) for hue in HUES]
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    assert nearest > 5  # about 2.3 is just noticeable


def test_every_colour_has_its_name_in_the_palette_alone():
    """A hue or a grey of the house, spelt out anywhere else, would drift."""
    named = set(re.findall(r"#[0-9a-f]{6}", variables()))
    assert len(named) == 13 and set(HUES) < named
    for path in sorted(VIEWS.rglob("*.*")):
        if path.suffix in (".py", ".css", ".js") and path.name != "palette.py":
            spelt = {one.lower() for one in re.findall(r"#[0-9a-fA-F]{6}\b", path.read_text())}
            assert not spelt & named, f"{path}: {sorted(spelt & named)}; wants the palette's names"


def test_stylesheets_use_only_names_that_are_defined():
    for path in sorted(VIEWS.rglob("*.css")):
        sheet = style(path.stem)
        used = set(re.findall(r"var\((--[a-z0-9-]+)[,)]", sheet))
        set_by_scripts = {"--jp", "--fill", "--hatch", "--runs"}
        own = {name for name in used if not name.startswith("--jp-")} - set_by_scripts
        defined = set(re.findall(r"(--[a-z0-9-]+)\s*:", sheet))
        assert own <= defined, f"{path.name}: {sorted(own - defined)}"
