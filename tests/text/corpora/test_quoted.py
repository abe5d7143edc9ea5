"""Documents that stand inside others: none is held out whose text is known from training."""

import json
import re

from moe_lib.text import load_corpus


def test_no_held_out_document_stands_in_a_training_document():
    """Half of its three-word runs in one training document would be enough to know it by heart."""

    def runs(text):
        words = re.findall(r"[^\W_]+", text.lower())
        return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}

    sides = load_corpus("python")
    train = [runs(text) for text in sides["train"]["text"]]
    for row in sides["heldout"]:
        own = runs(row["text"])
        share = max(len(own & other) for other in train) / max(1, len(own))
        assert share < 0.5, (row["source"], share)


def test_a_quoted_document_is_left_out_of_the_held_out_side(tmp_path):
    """Thirty documents, each quoted in a longer one: wherever the long one trains, the short one is
    not held out."""
    words = [f"w{number}" for number in range(30 * 200)]
    rows = []
    for number in range(30):
        own = words[number * 200 : number * 200 + 200]
        rows += [{"text": " ".join(own[:40])}, {"text": " ".join(own)}]
    path = tmp_path / "quoted.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sides = load_corpus(path, held_out=0.4)
    train, held_out = sides["train"]["text"], sides["heldout"]["text"]
    assert len(held_out) > 5 and len(train) + len(held_out) < 60
    assert not any(text in other for text in held_out for other in train)
