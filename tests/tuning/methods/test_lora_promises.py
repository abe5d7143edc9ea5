"""What every method promises, for LoRA: off, merge and unmerge, save and load, refusals."""

import copy
import json

import pytest
import torch

from moe_lib.tuning import Examples, SequenceClassifier, finetune, fingerprint, load_head, save_head
from moe_lib.tuning.methods import METHODS, LoRA, attached_to, load_adapter
from tests.tuning.methods.promises import CAUSAL_MLA, disturb, logits
from tests.tuning.small import make_base, random_ids
from tests.tuning.test_finetune import planted

EVERYTHING = ("attention", "dense_ffn", "shared", "experts")


@pytest.fixture(
    params=[dict(causal=True, first_k_dense_replace=1), {**CAUSAL_MLA, "first_k_dense_replace": 1}],
    ids=["attention", "latent attention"],
)
def base(request):
    return make_base(**request.param).eval()


def test_a_fresh_lora_changes_nothing_and_trains_only_itself(base):
    ids = random_ids(2, 9)
    before = logits(base, ids)
    attached = LoRA(rank=2, targets=EVERYTHING).attach(base)
    assert torch.equal(logits(base, ids), before)  # B = 0
    trained = {name for name, parameter in base.named_parameters() if parameter.requires_grad}
    assert trained == set(attached.trainable_parameters()) and len(trained) > 20
    disturb(attached)
    assert (logits(base, ids) - before).abs().max() > 0.1
    attached.enabled = False
    assert torch.equal(logits(base, ids), before)
    attached.enabled = True
    assert (logits(base, ids) - before).abs().max() > 0.1


def test_merged_and_unmerged_agree_and_unmerging_gives_the_same_bits_back(base):
    """In float64: (W + BA)x and Wx + B(Ax) are rounded differently, and in float32 by how much
    depends on the number of threads."""
    base, ids = base.double(), random_ids(2, 9)
    weights = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    attached = LoRA(rank=2, targets=EVERYTHING).attach(base)
    disturb(attached)
    expected = logits(base, ids)
    attached.merge()
    assert set(base.state_dict()) == set(weights)  # a plain model again
    torch.testing.assert_close(logits(base, ids), expected, atol=1e-12, rtol=1e-12)
    attached.unmerge()
    assert torch.equal(logits(base, ids), expected)
    attached.detach()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in base.state_dict().items())
    assert (
        all(parameter.requires_grad for parameter in base.parameters())
        and attached_to(base) is None
    )


def test_saved_and_loaded_on_the_same_base_only(base, tmp_path):
    ids, mark = random_ids(2, 9), fingerprint(base)
    twin = copy.deepcopy(base)
    method = LoRA(rank=2, alpha=5, targets=("attention", "experts"))
    attached = method.attach(base)
    disturb(attached)
    attached.save(tmp_path)
    card = json.loads((tmp_path / "adapter.json").read_text())
    assert card["method"] == "LoRA" and card["base"] == mark and card["settings"]["alpha"] == 5
    loaded = load_adapter(tmp_path, twin)
    assert loaded.method == method and torch.equal(logits(twin, ids), logits(base, ids))

    other = make_base(
        seed=5,
        **{
            name: getattr(base.config, name)
            for name in (
                "causal",
                "first_k_dense_replace",
                "attention",
                "kv_lora_rank",
                "qk_nope_head_dim",
                "qk_rope_head_dim",
                "v_head_dim",
            )
        },
    )
    with pytest.raises(ValueError, match=f"{fingerprint(other)}.*{mark}"):
        load_adapter(tmp_path, other)
    assert attached_to(other) is None and all(
        parameter.requires_grad for parameter in other.parameters()
    )
    (tmp_path / "adapter.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"adapter\.safetensors"):
        load_adapter(tmp_path, other)


def test_a_file_that_does_not_fit_its_settings_leaves_the_model_alone(tmp_path):
    base = make_base()
    LoRA(rank=2).attach(base).save(tmp_path)
    attached_to(base).detach()
    card = json.loads((tmp_path / "adapter.json").read_text())
    card["settings"]["rank"] = 3
    (tmp_path / "adapter.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="does not fit"):
        load_adapter(tmp_path, base)
    assert attached_to(base) is None
    card["method"] = "Magic"
    (tmp_path / "adapter.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=", ".join(METHODS)):
        load_adapter(tmp_path, base)


def test_what_is_refused(tmp_path):
    base = make_base(causal=True)
    head = SequenceClassifier(base, 2)
    attached = LoRA(rank=2).attach(base)
    with pytest.raises(ValueError, match="LoRA attached"):
        LoRA(rank=4).attach(base)
    with pytest.raises(ValueError, match="merge or detach"):
        save_head(head, tmp_path / "head")
    with pytest.raises(ValueError, match="not merged"):
        attached.unmerge()
    attached.merge()
    for forbidden in (attached.merge, lambda: setattr(attached, "enabled", False)):
        with pytest.raises(ValueError, match="not merged"):
            forbidden()
    with torch.no_grad():
        base.layers[0].attention.q_proj.weight.add_(1.0)  # somebody trained the merged weights
    with pytest.raises(ValueError, match="changed since merge"):
        attached.unmerge()
    with pytest.raises(TypeError, match=r"head\.base"):
        LoRA().attach(head)
    with pytest.raises(ValueError, match="another model"):
        attached.attach(make_base())


def test_targets_that_do_not_fit_are_named_and_leave_the_model_alone():
    base = make_base()
    for target, words in (
        ("layers.*.k_proj_typo", "k_proj_typo"),
        ("head", "embedding"),
        ("embedding", "Embedding"),
        ("layers.0.feed_forward.router", "Router"),
        ("dense_ffn", "dense_ffn"),
    ):
        with pytest.raises(ValueError, match=words):
            LoRA(targets=(target,)).attach(base)
        assert attached_to(base) is None and all(
            parameter.requires_grad for parameter in base.parameters()
        )


def test_merging_for_good_leaves_a_plain_model_that_can_be_saved_and_trained(base, tmp_path):
    head = SequenceClassifier(base, 2).eval()
    attached = LoRA(rank=2).attach(base)
    disturb(attached)
    ids = random_ids(2, 9)
    expected = logits(head, ids)
    assert attached.merge_and_unload() is base and attached_to(base) is None
    assert all(parameter.requires_grad for parameter in base.parameters())
    save_head(head, tmp_path)
    loaded, _, _ = load_head(tmp_path)
    torch.testing.assert_close(logits(loaded, ids), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="taken off"):
        attached.save(tmp_path)


def test_a_deepcopy_has_a_method_of_its_own(base):
    ids = random_ids(2, 9)
    attached = LoRA(rank=2, targets=EVERYTHING).attach(base)
    disturb(attached)
    expected = logits(base, ids)
    twin = copy.deepcopy(base)
    assert attached_to(twin) is not attached and attached_to(twin).model is twin
    attached_to(twin).enabled = False
    assert torch.equal(logits(base, ids), expected) and not torch.equal(logits(twin, ids), expected)
    attached_to(twin).detach()
    assert attached_to(base) is attached and torch.equal(logits(base, ids), expected)


def test_training_goes_on_with_what_is_attached_but_not_while_merged_or_off():
    head = SequenceClassifier(make_base(), 2)
    attached = finetune(head, Examples(planted(20), 10), steps=2, method=LoRA(rank=2)).attached
    first = {name: p.clone() for name, p in attached.trainable_parameters().items()}
    assert finetune(head, Examples(planted(20), 10), steps=2, method=attached).attached is attached
    assert all(
        not torch.equal(p, first[name]) for name, p in attached.trainable_parameters().items()
    )
    attached.merge()
    with pytest.raises(ValueError, match="unmerge"):
        finetune(head, Examples(planted(20), 10), steps=2, method=attached)
    attached.unmerge()
    attached.enabled = False
    with pytest.raises(ValueError, match="switched off"):
        finetune(head, Examples(planted(20), 10), steps=2, method=attached)
