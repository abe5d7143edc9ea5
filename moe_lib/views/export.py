"""Write the explorer as one HTML page that needs no kernel, no server and no network."""

import json
from html import escape
from pathlib import Path

from moe_lib.tracing import Reading
from moe_lib.views.payload import reading_payload

STATIC = Path(__file__).parent / "static"

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
<p>Which experts{of_model} read each token of this text. Switching experts off needs the notebook.</p>
<pre class="moe-text" dir="auto">{text}</pre>
<div id="controls" class="moe-controls"></div>
<div id="explorer"></div>
<script type="application/json" id="state">{state}</script>
<script type="module">
{explorer}
{page}
</script>
</body>
</html>
"""


def write_reading(path: str | Path, reading: Reading, model: str = "") -> Path:
    """Write the page of a reading, opened at its first layer; `model` is the model's name. Returns the path."""
    state = {"payload": reading_payload(reading), "layer": reading.trace.layers[0].index, "rank": 1, "token": -1,
             "expert": -1, "changes": []}  # fmt: skip
    return write_page(path, reading.text, state, model)


def write_page(path: str | Path, text: str, state: dict, model: str = "") -> Path:
    """Write the page of `text`; `state` holds what explorer.js asks its model for. Returns the path."""
    path = Path(path)
    parts = {name: (STATIC / name).read_text(encoding="utf-8") for name in ("explorer.js", "explorer.css", "page.js")}
    # "<" would end the script element where a text holds "</script>"; JSON allows the escape.
    data = json.dumps(state, ensure_ascii=False).replace("<", "\\u003c")
    of_model = f" of {escape(model)}" if model else ""
    path.write_text(_PAGE.format(css=parts["explorer.css"], text=escape(text), state=data, of_model=of_model,
                                 explorer=parts["explorer.js"], page=parts["page.js"]), encoding="utf-8")  # fmt: skip
    return path
