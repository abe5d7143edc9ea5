"""What travels to the browser is what the trace says."""

import json

import numpy as np
import pytest

from moe_lib.tracing import read_text
from moe_lib.views.explorer.export import write_page
from moe_lib.views.explorer.payload import pack, reading_payload, unpack


def test_pack_and_unpack_agree_to_half_a_step():
    numbers = np.random.default_rng(0).random((50, 16)) * 3
    assert np.abs(unpack(pack(numbers)) - numbers.flatten()).max() <= numbers.max() / 131070 * 1.001
    small = unpack(pack(numbers, 12))
    assert np.abs(small - numbers.flatten()).max() <= numbers.max() / 8190 * 1.001
    assert unpack(pack([0, 1, 4095], 12)).tolist() == [0.0, 1.0, 4095.0, 0.0]  # two by two
    assert unpack(pack(np.zeros((3, 2)))).tolist() == [0.0] * 6
    assert unpack(pack(np.zeros((0, 2)))).tolist() == []


def test_payload_is_json_and_holds_the_trace(reading):
    payload = json.loads(json.dumps(reading_payload(reading)))
    first = payload["layers"][0]
    assert payload["tokens"] == list(reading.labels)
    assert unpack({"data": first["experts"], "scale": 1}).tolist() == [0, 1, 0, 2, 3, 0, 1, 0]
    assert unpack(first["scores"])[:4] == pytest.approx([0.5, 0.3, 0.1, 0.1], abs=1e-5)
    assert (first["load"], first["even"], first["maxVio"]) == ([4, 2, 1, 1], 2.0, 1.0)
    assert payload["predictions"][0] is None
    assert payload["predictions"][1] == {
        "best": [["a", 0.5], ["b", 0.25], ["c", 0.125]],
        "actual": 0.223,
    }


def test_512_tokens_make_a_small_payload(model, tokenizer):
    long = read_text(model, tokenizer, "the list is sorted " * 200, max_tokens=512)
    assert len(json.dumps(reading_payload(long))) < 200_000


def test_the_page_holds_everything_and_nothing_breaks_out_of_it(reading, tmp_path):
    state = {"payload": {"tokens": ["</script><script>alert(1)</script>"]}, "layer": 1}
    page = write_page(
        tmp_path / "page.html", [("", "</pre><script>alert(2)</script>")], state
    ).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    page = page.replace(
        "http://www.w3.org/2000/svg", ""
    )  # the name of SVG's elements; nothing is loaded from there
    assert "http:" not in page and "https:" not in page and "innerHTML" not in page
    data = page.split('id="state">')[1].split("</script>")[0]
    assert json.loads(data) == state
