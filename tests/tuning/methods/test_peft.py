"""LoRA and AdaLoRA beside Hugging Face's peft, on the same weights and data."""

import copy
from types import SimpleNamespace

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

from moe_lib.interop import save_transformers
from moe_lib.tuning import Examples, SequenceClassifier, finetune
from moe_lib.tuning.methods import AdaLoRA, LoRA, attached_to, export_peft
from tests.tuning.methods.promises import CAUSAL_MLA, disturb, logits
from tests.tuning.small import make_base
from tests.tuning.test_finetune import planted

TARGETS = [
    "q_proj",
    "kv_down_proj",
    "o_proj",
]  # peft's kv_up_proj has no part in latent attention's cached path
PATTERNS = tuple(f"layers.*.attention.{name}" for name in TARGETS)


class WithLoss(nn.Module):
    """A head whose output peft may write to: peft's AdaLoRA adds its own loss to output.loss."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, **batch):
        output = self.head(**batch)
        return SimpleNamespace(loss=output.loss, logits=output.logits)


def copy_into_peft(attached, theirs, pairs):
    """Our starting values into peft's parameters. pairs: our name -> (theirs, function of ours)."""
    named = dict(theirs.named_parameters())
    for path, wrapper in attached.wrappers.items():
        for ours, (name, change) in pairs.items():
            target = next(p for key, p in named.items() if f".{path}.{name}.default" in key)
            target.data.copy_(change(getattr(wrapper, ours).data))


def unchanged(tensor):
    return tensor


LORA_NAMES = {"A": ("lora_A", unchanged), "B": ("lora_B", unchanged)}
SVD_NAMES = {
    "Q": ("lora_A", unchanged),
    "P": ("lora_B", unchanged),
    "Lambda": ("lora_E", lambda x: x[:, None]),
}


def theirs_of(theirs, path, name):
    return next(p for key, p in theirs.named_parameters() if f".{path}.{name}.default" in key)


def optimiser_of(model):
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(parameters, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)


def pair(method, config, pairs, seed=0):
    """Our head with `method` and peft's copy of it, at the same values away from the start."""
    torch.manual_seed(seed)
    head = SequenceClassifier(
        make_base(**CAUSAL_MLA, initializer_range=0.1), 2
    ).double()  # Adam blows rounding up
    head.classifier.requires_grad_(False)  # peft freezes it, so do we
    theirs = get_peft_model(WithLoss(copy.deepcopy(head)), config)
    attached = method.attach(head.base)
    disturb(attached, size=0.1)
    copy_into_peft(attached, theirs, pairs)
    return head, attached, theirs


def test_lora_steps_are_pefts():
    method = LoRA(rank=3, alpha=12, targets=PATTERNS)
    head, attached, theirs = pair(
        method, LoraConfig(r=3, lora_alpha=12, target_modules=TARGETS), LORA_NAMES
    )
    assert attached.n_trainable == sum(p.numel() for p in theirs.parameters() if p.requires_grad)
    batches = Examples(planted(40), 8)
    ours, peft = optimiser_of(head), optimiser_of(theirs)
    for step in range(6):
        batch = batches.at(step)
        mine, other = head(**batch), theirs(**batch)
        torch.testing.assert_close(mine.logits, other.logits, atol=1e-5, rtol=1e-4)
        for optimiser, loss in ((ours, mine.loss), (peft, other.loss)):
            optimiser.zero_grad()
            loss.backward()
        for path, wrapper in attached.wrappers.items():
            for name, (their_name, _) in LORA_NAMES.items():
                reference = theirs_of(theirs, path, their_name).grad
                torch.testing.assert_close(
                    getattr(wrapper, name).grad, reference, atol=1e-6, rtol=1e-3
                )
        ours.step()
        peft.step()
    for path, wrapper in attached.wrappers.items():
        torch.testing.assert_close(
            wrapper.A, theirs_of(theirs, path, "lora_A"), atol=1e-5, rtol=1e-4
        )


def test_adalora_importance_budget_and_ranks_are_pefts_step_by_step():
    """peft's allocator is asked in the paper's order: importance when the gradients stand, the cut
    after the step.

    Its documentation calls both after the step, which multiplies new weights by old gradients.
    """
    steps = 16
    alpha = 8 * 4 / (4 + 1e-5)  # peft's scale is α / (r + 1e-5)
    method = AdaLoRA(
        init_rank=4,
        target_rank=2,
        alpha=alpha,
        tinit=3,
        tfinal=4,
        deltaT=2,
        orth_reg=0.3,
        targets=PATTERNS,
    )
    config = AdaLoraConfig(
        init_r=4,
        target_r=2,
        lora_alpha=8,
        tinit=3,
        tfinal=4,
        deltaT=2,
        total_step=steps,
        orth_reg_weight=0.3,
        target_modules=TARGETS,
    )
    head, attached, theirs = pair(method, config, SVD_NAMES)
    for name, parameter in theirs.named_parameters():
        if "ranknum" in name:  # the rank that peft divides by: its optimiser would train it along
            parameter.requires_grad_(False)
    allocator, optimiser = theirs.base_model.rankallocator, optimiser_of(theirs)
    batches, pattern, kept = Examples(planted(40), 8), None, []
    ours = optimiser_of(head)
    for step in range(steps):
        batch = batches.at(step)
        # ours, as finetune does it
        (head(**batch).loss).backward()
        attached.extra_loss().backward()
        attached.before_step(step, steps)
        ours.step()
        ours.zero_grad()
        attached.after_step(step, steps)
        # theirs
        theirs.base_model(
            **batch
        ).loss.backward()  # peft quirk: theirs(**batch) leaves out the orthogonality loss
        if step < steps - config.tfinal:
            allocator.update_ipt(theirs)
        optimiser.step()
        optimiser.zero_grad()
        budget, cut = allocator.budget_schedule(step)
        assert method.budget(step, steps, len(attached.wrappers)) == budget
        if (cut and step <= steps - config.tfinal) or step == steps - config.tfinal:
            pattern = allocator.mask_to_budget(theirs, budget)
        elif step > steps - config.tfinal:
            allocator.mask_using_rank_pattern(theirs, pattern)
        if pattern is not None:
            for path, wrapper in attached.wrappers.items():
                mask = next(value for key, value in pattern.items() if f".{path}." in key)
                assert wrapper.kept.tolist() == mask, f"step {step}, {path}"
        kept.append(tuple(attached.ranks().values()))
        for path, entries in attached.importance.items():
            for entry, name in zip(entries, ("lora_B", "lora_E", "lora_A"), strict=True):
                key = next(key for key in allocator.exp_avg_ipt if f".{path}.{name}." in key)
                reference = allocator.exp_avg_ipt[key] * allocator.exp_avg_unc[key]
                score = entry.score[:, None] if name == "lora_E" else entry.score
                torch.testing.assert_close(score, reference, atol=1e-12, rtol=1e-4)
    assert (
        len(set(kept)) >= 3 and len(set(kept[-1])) > 1
    )  # the ranks did move, and are not the same everywhere
    for path, wrapper in attached.wrappers.items():
        torch.testing.assert_close(
            wrapper.Lambda[:, None], theirs_of(theirs, path, "lora_E"), atol=1e-6, rtol=1e-5
        )


def test_our_lora_in_peft_over_the_exported_model_gives_the_same_logits(tmp_path):
    model = make_base(**CAUSAL_MLA, first_k_dense_replace=1, norm_topk_prob=False).eval()
    save_transformers(model, tmp_path / "base")
    attached = LoRA(rank=4, alpha=8, targets=("attention",)).attach(model)
    disturb(attached, size=0.2)
    export_peft(attached, tmp_path / "adapter", base="base")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    ids = torch.randint(
        0, model.config.vocab_size, (2, 12), generator=torch.Generator().manual_seed(0)
    )
    base_logits = logits(plain, ids)
    theirs = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    assert sum("lora_A" in name for name, _ in theirs.named_parameters()) == len(attached.wrappers)
    torch.testing.assert_close(logits(theirs, ids), logits(model, ids), atol=1e-3, rtol=1e-3)
    assert (logits(theirs, ids) - base_logits).abs().max() > 0.5


def test_a_lora_on_everything_goes_to_transformers_merged(tmp_path):
    """peft has no place for these matrices; the merged model needs none."""
    model = make_base(**CAUSAL_MLA, first_k_dense_replace=1, norm_topk_prob=False).eval()
    before = logits(model)
    attached = LoRA(rank=2, targets=("attention", "dense_ffn", "shared", "experts")).attach(model)
    disturb(attached, size=0.2)
    wanted = logits(model)
    attached.merge()
    save_transformers(model, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits(theirs), wanted, atol=1e-3, rtol=1e-3)
    assert (wanted - before).abs().max() > 0.5


def test_what_cannot_be_exported_is_named(tmp_path):
    for target in ("experts", "shared"):
        with pytest.raises(ValueError, match=target):
            export_peft(
                LoRA(rank=2, targets=("attention", target)).attach(make_base(causal=True)), tmp_path
            )
    with pytest.raises(TypeError, match="AdaLoRA"):
        export_peft(AdaLoRA().attach(make_base(causal=True)), tmp_path)


def test_finetune_calls_what_the_two_loops_above_call():
    """The hand-made loop of the AdaLoRA test, once more through finetune."""
    steps, batches = 8, Examples(planted(40), 8)
    method = AdaLoRA(init_rank=4, target_rank=2, tinit=1, tfinal=2, deltaT=2, targets=PATTERNS)
    results = []
    for through_finetune in (True, False):
        torch.manual_seed(3)
        head = SequenceClassifier(make_base(**CAUSAL_MLA, initializer_range=0.1), 2)
        if through_finetune:
            finetune(
                head,
                batches,
                steps=steps,
                learning_rate=1e-2,
                min_learning_rate_ratio=1.0,
                warmup_steps=1,
                clip=1e9,
                weight_decay=0.0,
                balance=False,
                method=method,
                seed=4,
            )
        else:
            torch.manual_seed(4)
            attached = method.attach(head.base)
            trained = [p for p in head.parameters() if p.requires_grad]
            optimiser = torch.optim.AdamW(trained, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0)
            for step in range(steps):
                (head.train()(**batches.at(step)).loss + attached.extra_loss()).backward()
                attached.before_step(step, steps)
                optimiser.step()
                optimiser.zero_grad()
                attached.after_step(step, steps)
        results.append(attached_to(head.base))
    first, second = results
    assert first.ranks() == second.ranks() and sum(first.ranks().values()) == 2 * len(
        first.wrappers
    )
    for name, parameter in first.trainable_parameters().items():
        torch.testing.assert_close(
            parameter, second.trainable_parameters()[name], atol=1e-4, rtol=1e-3
        )
