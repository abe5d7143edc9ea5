"""What the library does, on any device: each scene gives tensors that must not depend on it.

    python -m tests.devices.scenes FOLDER     runs all of them on the pretend device

It is a process of its own, because a device that is registered once stays. A scene's results are
written to FOLDER/NAME.safetensors; what went wrong, to FOLDER/NAME.error.
"""

import sys
import traceback
from pathlib import Path

import torch

from moe_lib import explore, load_checkpoint, trace_routing, train
from moe_lib.files import write_tensors
from moe_lib.model import ROUTERS, make_router
from moe_lib.training import evaluate
from moe_lib.tuning import Examples, SequenceClassifier, finetune, predict
from moe_lib.tuning.methods import ESFT, LoRA
from tests.devices.course_scenes import COURSE_SCENES
from tests.devices.pretend_device import register
from tests.model.test_routers import OPTIONS, D, E, K
from tests.training.small import RandomBatches, make_model
from tests.tuning.small import make_base
from tests.tuning.test_finetune import planted

LATENT = dict(attention="mla", kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8)
BIAS = dict(router="biased_topk", scoring_func="sigmoid", bias_update_speed=0.01)
MODELS = {
    "causal": {},
    "masked": dict(causal=False),
    "latent_bias": {**LATENT, **BIAS},
    "balance_loss": dict(aux_loss_alpha=0.01),
    "dense": dict(n_routed_experts=0, n_shared_experts=0),
}


def trained(changes):
    def scene(device):
        batches = RandomBatches(masked=not changes.get("causal", True))
        run = train(
            make_model(**changes),
            batches,
            steps=4,
            learning_rate=1e-2,
            accumulation=2,
            device=device,
            evaluation=[batches.at(9)],
            progress=False,
        )
        columns = ("loss", "heldout_loss", "max_violation", "load_entropy", "gradient_norm")
        history = torch.tensor(run.history[list(columns)].fillna(0).to_numpy())
        score = torch.tensor(evaluate(run.model, [batches.at(9)]))
        return {"history": history, "score": score, **dict(run.model.named_parameters())}

    return scene


def generated(changes):
    def scene(device):
        model = make_model(**changes).eval().to(device)
        ids = RandomBatches(rows=3).at(0)["input_ids"].to(device)
        mask = torch.ones_like(ids)
        mask[0, :3] = 0
        drawn = model.generate(
            ids, 5, temperature=1.0, top_k=5, generator=torch.Generator().manual_seed(0)
        )
        return {
            "greedy": model.generate(ids, 6),
            "without_cache": model.generate(ids, 6, use_cache=False),
            "padded": model.generate(ids, 6, attention_mask=mask, stop_token_ids=(3,)),
            "drawn": drawn,
        }

    return scene


def routed(name):
    def scene(device):
        torch.manual_seed(0)
        router = make_router(name, D, E, K.get(name, 3), **OPTIONS.get(name, {}))
        for parameter in router.parameters():
            torch.nn.init.normal_(parameter)
        x, ids = torch.randn(24, D), torch.randint(0, 30, (24,))
        router, found = router.to(device), {}
        for training in (True, False):
            torch.manual_seed(1)
            routing = router.train(training)(x.to(device), input_ids=ids.to(device))
            for field in ("experts", "weights", "scores", "logits", "kept"):
                value = getattr(routing, field)
                if value is not None:
                    found[f"{field}.{training}"] = value
        return found

    return scene


def traced(device):
    model = make_model().to(device)
    trace = trace_routing(model, RandomBatches().at(0)["input_ids"].to(device))
    return {
        f"{layer.name}.{field}": getattr(layer, field)
        for layer in trace.layers
        for field in ("experts", "weights")
    }


def explored(device):
    model, tokenizer = load_checkpoint("mini-v2")
    explorer = explore(model.to(device), tokenizer, "The list is sorted in place.")
    layer = explorer.reading.trace.layers[0]
    before = {"experts": layer.experts, "weights": layer.weights}
    explorer.switch_off([int(layer.experts[0, 0, 0])])
    return {**before, "experts_after": explorer.reading.trace.layers[1].experts}


def tuned(method, **changes):
    def scene(device):
        head = SequenceClassifier(make_base(**changes), 2).to(device)
        examples = Examples(planted(20), 4)
        run = finetune(head, examples, steps=4, learning_rate=1e-2, method=method)
        found = predict(run.model, Examples(planted(20), 8))
        return {"probabilities": found.probabilities, **dict(run.model.named_parameters())}

    return scene


def viewed(device):
    """The stand-in itself: strides, and views that share memory with what they show."""
    table = torch.arange(12.0).view(3, 4).to(device)
    turned, row = table.t(), table[1]
    assert turned.stride() == (1, 4) and not turned.is_contiguous()
    turned[0, 0] = 50
    row.mul_(2)
    table.view(-1)[-1] = 7
    weight = torch.ones(4, 2, device=device, requires_grad=True)
    (table[:, 1:3].t() @ table @ weight).relu().sum().backward()
    return {"table": table, "turned": turned, "row": row, "grad": weight.grad}


def refused(device):
    """Mixing devices is refused, except where the other device is the same one."""
    here, there = torch.ones(3), torch.ones(3, device=device)
    if device.type != "cpu":
        for mix in (lambda: here + there, lambda: torch.cat((here, there)), there.numpy):
            try:
                mix()
            except (RuntimeError, TypeError):
                continue
            raise AssertionError("devices were mixed")
    return {"sum": there + 2, "index": there[torch.tensor([0, 2])]}


SCENES = {
    "views": viewed,
    "mixing": refused,
    **{f"train_{name}": trained(changes) for name, changes in MODELS.items()},
    **{f"generate_{name}": generated(MODELS[name]) for name in ("causal", "latent_bias")},
    **{f"router_{name}": routed(name) for name in ROUTERS},
    "trace_routing": traced,
    "explore": explored,
    "finetune": tuned(None),
    "finetune_latent": tuned(None, **LATENT),
    "lora": tuned(LoRA(rank=2)),
    "esft": tuned(ESFT({1: (2, 0)})),
    **COURSE_SCENES,
}


def play(name: str, device: torch.device) -> dict[str, torch.Tensor]:
    """The tensors of a scene, on the CPU."""
    return {key: value.detach().cpu().clone() for key, value in SCENES[name](device).items()}


def main(folder: Path) -> None:
    device = register()
    for name in SCENES:
        try:
            write_tensors(folder / f"{name}.safetensors", play(name, device))
        except Exception:
            (folder / f"{name}.error").write_text(traceback.format_exc(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
