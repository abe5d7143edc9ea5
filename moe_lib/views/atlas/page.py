"""Write an atlas as one HTML page that needs no kernel, no server and no network."""

import base64
import hashlib
import json
from html import escape
from pathlib import Path

from moe_lib.errors import require
from moe_lib.files import write_atomically
from moe_lib.tracing.atlas import Atlas
from moe_lib.tracing.token_labels import token_label
from moe_lib.validation import PathLike, Text, checked
from moe_lib.views.atlas.payload import atlas_payload
from moe_lib.views.kit.assets import script, style

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'sha256-{hash}';
style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Atlas of experts: {model}</title>
<style>{css}</style>
</head>
<body class="moe-page moe-atlas">
<h1>Atlas of experts: <bdi>{model}</bdi></h1>
<div id="atlas"><noscript>This page needs JavaScript, which it brings along.</noscript></div>
<script type="application/json" id="state">{state}</script>
<script type="module">{script}</script>
</body>
</html>
"""


@checked
def write_atlas(path: PathLike, atlas: Atlas, tokenizer, model: Text = "") -> Path:
    """Write the page of `atlas`; tokenizer names its tokens, `model` is the model's name. Texts are
    data in the page, never HTML, and its policy runs no script but its own. Returns the path; a
    write that fails leaves the page that was there."""
    path = Path(path)
    require(not path.is_dir(), "path", str(path), "the path of a file; this is a folder")
    state = atlas_payload(atlas, lambda token: token_label(tokenizer, token), model)
    # "<" would end the script element where a text holds "</script>"; JSON allows the escape.
    data = json.dumps(state, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    code = f"\n{script('atlas_parts', 'atlas')}\n"
    page = _PAGE.format(
        css=style("atlas"),
        hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii"),
        model=escape(model or "a model"),
        state=data.replace("<", "\\u003c"),
        script=code,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return path
