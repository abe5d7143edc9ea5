"""A model in a wrapper of peft or torch is taken where a model is asked for; what a whole epoch
must have is said by name."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from moe_lib.tuning import (
    Encoded,
    Examples,
    TokenClassifier,
    domain_losses,
    expert_choices,
    finetune,
    fingerprint,
)
from moe_lib.tuning.methods import select_experts
from tests.tuning.small import make_base, random_ids
from tests.tuning.test_finetune import token_rows

WRAPPERS = {
    "peft": lambda model: get_peft_model(model, LoraConfig(target_modules=["o_proj"])),
    "compiled": lambda model: torch.compile(model, backend="eager"),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_wrapped_model_is_measured_as_the_plain_one(kind):
    ids = random_ids(2, 5)
    batches = [{"input_ids": ids, "labels": ids}]
    plain, inner = make_base(), make_base()
    wrapped = WRAPPERS[kind](inner)  # peft's LoRA adds nothing at first
    for one, other in zip(expert_choices(plain, ids), expert_choices(wrapped, ids), strict=True):
        assert torch.equal(one, other)
    losses = [domain_losses(model, {"a": batches})["a"] for model in (plain, wrapped)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    chosen = [select_experts(model, batches).experts for model in (plain, wrapped)]
    assert chosen[0] == chosen[1]
    if kind == "compiled":  # its names carry a prefix, its weights are the same
        assert fingerprint(wrapped) == fingerprint(plain)


def unlabelled(*which):
    """Rows for tokens of which some have no label at all."""
    rows = [dict(row) for row in token_rows().rows[:4]]
    for place in which:
        rows[place]["labels"] = [-100] * len(rows[place]["labels"])
    return Examples(Encoded(rows, 0), 1)


def test_a_batch_may_be_without_labels_but_no_epoch():
    head = TokenClassifier(make_base(), 3)
    assert len(finetune(head, unlabelled(0, 1, 3), epochs=1).history) == 4
    with pytest.raises(ValueError, match="^batches: got 'no label in 4 batches'; wants"):
        finetune(head, unlabelled(0, 1, 2, 3), epochs=2)
