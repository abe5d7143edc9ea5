"""A head that is saved and loaded gives the same numbers, and refuses another base."""

import json

import pytest
import torch
from torch import nn

from moe_lib.training import save_checkpoint
from moe_lib.tuning import (
    MultipleChoice,
    SequenceClassifier,
    SpanExtractor,
    TokenClassifier,
    load_head,
    save_head,
)
from moe_lib.tuning.saving import fingerprint
from tests.tuning.small import make_base, random_ids


@pytest.mark.parametrize(
    "make",
    [
        lambda base: SequenceClassifier(base, 3, pooling="last", dropout=0.2),
        lambda base: TokenClassifier(base, 3),
        SpanExtractor,
        lambda base: MultipleChoice(base, pooling="first"),
    ],
)
def test_a_head_comes_back_with_its_base(make, tmp_path):
    head = make(make_base()).eval()
    ids = random_ids(2, 3, 5) if isinstance(head, MultipleChoice) else random_ids(2, 5)
    save_head(head, tmp_path / "head", label_names=["a", "b", "c"])
    again, tokenizer, names = load_head(tmp_path / "head")
    assert type(again) is type(head) and again.settings == head.settings and not again.training
    assert names == ("a", "b", "c") and tokenizer is None
    assert torch.equal(again(ids).logits, head(ids).logits)


def test_without_its_base_it_needs_the_very_same(tmp_path):
    base = make_base()
    head = SequenceClassifier(base, 2).eval()
    save_head(head, tmp_path, with_base=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.json", "head.safetensors"]
    again, _, _ = load_head(tmp_path, base=make_base())
    assert torch.equal(again(random_ids(2, 5)).logits, head(random_ids(2, 5)).logits)
    with pytest.raises(FileNotFoundError, match="config.json: missing"):
        load_head(tmp_path)
    with pytest.raises(
        ValueError, match="base: got 'a model with fingerprint .*that this head was trained on"
    ):
        load_head(tmp_path, base=make_base(seed=1))
    with torch.no_grad():
        base.layers[1].feed_forward_norm.weight[3] += 1e-3  # one number of one tensor
    with pytest.raises(ValueError, match="base: got"):
        load_head(tmp_path, base=base)


def test_a_base_exchanged_in_the_folder_is_refused(tmp_path):
    save_head(SequenceClassifier(make_base(), 2), tmp_path)
    save_checkpoint(make_base(seed=1), tmp_path)
    with pytest.raises(ValueError, match="base: got 'a model with fingerprint"):
        load_head(tmp_path)


def test_a_fingerprint_sees_weights_buffers_and_settings():
    same, other = fingerprint(make_base()), fingerprint(make_base(seed=1))
    assert same == fingerprint(make_base()) != other
    assert same != fingerprint(make_base(causal=True))  # equal weights, other attention
    model = make_base(router="biased_topk")
    before = fingerprint(model)
    model.layers[0].feed_forward.router.selection_bias[0] += 0.1
    assert fingerprint(model) != before


def test_a_changed_base_and_damaged_files_are_named(tmp_path):
    head = SequenceClassifier(make_base(), 2)
    save_head(head, tmp_path)
    head.base.layers[0].attention.q_proj.extra = nn.Linear(
        2, 2
    )  # as a method that is still attached
    with pytest.raises(
        ValueError, match="head: got 'a model with changed modules .*merge or detach"
    ):
        save_head(head, tmp_path / "other")
    card = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(
        json.dumps({**card, "settings": {**card["settings"], "n_labels": 5}})
    )
    with pytest.raises(ValueError, match="head.safetensors: does not fit head.json"):
        load_head(tmp_path)
    (tmp_path / "head.json").write_text(json.dumps({**card, "head": "Linear"}))
    with pytest.raises(ValueError, match="head.json: not a head of moe_lib"):
        load_head(tmp_path)
    (tmp_path / "head.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="head.safetensors: missing"):
        load_head(tmp_path)
