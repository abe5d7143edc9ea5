"""The page of an atlas: hostile text stays text, one policy, a bounded size, the command."""

import base64
import hashlib
import json
import re
from dataclasses import replace

from moe_lib.__main__ import main
from moe_lib.text import load_tokenizer
from moe_lib.tracing.atlas import atlas_of
from moe_lib.views.atlas import write_atlas
from tests.tracing.atlas_trace import made_up

EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'


def page_of(read, path, model="model"):
    return write_atlas(path, atlas_of(read, draws=5), load_tokenizer("course"), model).read_text(
        encoding="utf-8"
    )


def test_hostile_texts_and_names_stay_data(tmp_path):
    read = made_up(windows=8)
    windows = tuple(replace(one, pieces=(EVIL,) * len(one.ids)) for one in read.windows)
    page = page_of(replace(read, windows=windows), tmp_path / "a.html", EVIL)
    assert page.count("<script") == page.count("</script>") == 2 and "<img" not in page
    state = re.search(r'id="state">(.*?)</script>', page, re.S).group(1)
    told = json.loads(state)
    assert told["model"] == EVIL and EVIL in json.dumps(told["texts"]).replace('\\"', '"')
    code = re.search(r'<script type="module">(.*?)</script>', page, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_large_model_fits(tmp_path):
    path = tmp_path / "big.html"
    page_of(made_up(n_layers=3, n_experts=64, k=6, windows=40, length=250), path)
    assert path.stat().st_size * 9 < 8e6  # 27 layers


def test_the_command(tmp_path, capsys):
    texts = tmp_path / "texts"
    for name in ("doors", "prices"):
        (texts / name).mkdir(parents=True)
        for number in range(2):
            words = f"The {name} would not turn {number}. " * 20
            (texts / name / f"{number}.txt").write_text(words, encoding="utf-8")
    out = tmp_path / "atlas.html"
    asked = ["atlas", "mini-causal", "--texts", str(texts), "--out", str(out), "--max-tokens=300"]
    assert main([*asked, "--window=64", "--checkpoints", "mini-causal"]) == 0
    assert "300 tokens of 4 documents" in capsys.readouterr().out
    told = json.loads(re.search(r'id="state">(.*?)</script>', out.read_text("utf-8"), re.S)[1])
    assert told["domains"] == ["doors", "prices"]
    assert told["layers"][0]["saturation"][0][0] == 1000  # the model against itself
    assert not (tmp_path / "atlas.html.parts").exists()
