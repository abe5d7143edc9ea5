"""The four kinds of attention of chapter 08: as equal as they claim, and each with the cache it
should have."""

import torch

from moe_course.studies.attention_kinds import (
    CONTROL,
    HEAD_DIM,
    HEADS,
    KINDS,
    kind_config,
    make_model,
)
from moe_lib import LanguageModel
from moe_lib.model import KVCache


def parameters(name):
    return sum(weight.numel() for weight in LanguageModel(kind_config(name, 272)).parameters())


def test_four_kinds_have_equally_many_parameters_and_the_control_has_fewer():
    sizes = {name: parameters(name) for name in KINDS}
    assert max(sizes.values()) < 1.003 * min(sizes.values())
    assert parameters(CONTROL) < 0.9 * min(sizes.values())
    assert kind_config(CONTROL, 272).intermediate_size == kind_config("MHA", 272).intermediate_size


def test_each_kind_keeps_what_its_name_says():
    kept = {}
    for name in (*KINDS, CONTROL):
        cache = KVCache()
        with torch.no_grad():
            LanguageModel(kind_config(name, 272))(torch.zeros(2, 7, dtype=torch.int64), cache=cache)
        kept[name] = cache.number_of_elements() / (2 * 7 * 2)  # per token and block
    one_head = 2 * HEAD_DIM  # a key and a value
    assert kept == {
        "MHA": HEADS * one_head,
        "GQA": 2 * one_head,
        "MQA": one_head,
        CONTROL: one_head,
        "MLA": 4.5 * HEAD_DIM,
    }


def test_models_of_one_seed_share_what_fits():
    mha, mqa, mla, other = (
        make_model(kind_config(name, 272), seed).state_dict()
        for name, seed in (("MHA", 1), ("MQA", 1), ("MLA", 1), ("MHA", 2))
    )
    for name in ("embedding.weight", "layers.0.attention.o_proj.weight"):
        assert torch.equal(mha[name], mqa[name]) and torch.equal(mha[name], mla[name])
        assert not torch.equal(mha[name], other[name])
    query = "layers.1.attention.q_proj.weight"
    assert torch.equal(mha[query], mqa[query]) and mla[query].shape != mha[query].shape
