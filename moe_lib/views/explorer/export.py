"""Write the explorer as one HTML page that needs no kernel, no server and no network."""

import json
from html import escape
from pathlib import Path

from moe_lib.errors import require
from moe_lib.files import write_atomically
from moe_lib.tracing import Reading
from moe_lib.views.explorer.panel import SCRIPTS
from moe_lib.views.explorer.payload import comparison_payload, reading_payload
from moe_lib.views.explorer.readings import Readings
from moe_lib.views.kit.assets import script, style
from moe_lib.views.kit.wording import turns_lines

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Routing explorer</title>
<style>{css}</style>
</head>
<body class="moe-page">
<h1>Routing explorer</h1>
<p>Which experts{of_model} read each token of this text. Changing the number of experts per token,
and switching experts off, runs the model again: that needs the notebook.</p>
{texts}
<div id="controls" class="moe-controls"></div>
<div id="explorer"></div>
<script type="application/json" id="state">{state}</script>
<script type="module">
{script}
</script>
</body>
</html>
"""


def write_reading(path: str | Path, reading: Reading, model: str = "") -> Path:
    """Write the page of a reading, opened at its first layer; `model` is the model's name. Returns
    the path."""
    return write_page(path, [("", reading.text)], _state(reading), model)


def write_readings(path: str | Path, readings: Readings, model: str = "") -> Path:
    """Write the page of a reading and of what it is compared with, if anything. Returns the
    path."""
    bits = 16 if readings.compared is None else 12
    state = {**_state(readings.reading, bits), "comparison": comparison_payload(readings)}
    return write_page(path, shown_texts(readings), state, model)


def shown_texts(readings: Readings) -> list[tuple[str, str]]:
    """(name, text) of what was read: one text for two models."""
    if readings.compared is None or readings.two_models:
        return [("", readings.reading.text)]
    return list(zip(readings.names, (readings.reading.text, readings.compared.text), strict=True))


def _state(reading: Reading, bits: int = 16) -> dict:
    return {
        "payload": reading_payload(reading, bits),
        "comparison": {},
        "before": {},
        "changes": [],
        "rank": 1,
        "layer": reading.trace.layers[0].index,
        "token": -1,
        "side": 0,
        "expert": -1,
    }


def write_page(
    path: str | Path, texts: list[tuple[str, str]], state: dict, model: str = ""
) -> Path:
    """Write the page of `texts`, (name, text) each; `state` holds what explorer.js asks its model
    for. A write that fails leaves the page that was there."""
    path = Path(path)
    require(not path.is_dir(), "path", str(path), "the path of a file; this is a folder")
    # "<" would end the script element where a text holds "</script>"; JSON allows the escape.
    data = json.dumps(state, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    of_model = f" of {_apart(model)}" if model else ""
    # The parser takes the first line end after <pre> for its own: it gets one.
    shown = "\n".join(
        (f"<h2>{_apart(name)}</h2>\n" if name else "")
        + f'<pre class="moe-text" dir="auto">\n{escape(text)}</pre>'
        for name, text in texts
    )
    page = _PAGE.format(
        css=style("explorer"),
        texts=shown,
        state=data,
        of_model=of_model,
        script=script(*SCRIPTS, "page"),
    )
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return path


def _apart(words: str) -> str:
    """A name within our own words: what runs from right to left must not turn them."""
    return f"<bdi>{escape(words)}</bdi>" if turns_lines(words) else escape(words)
