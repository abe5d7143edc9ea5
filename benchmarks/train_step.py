"""A whole training step (forward, loss, backward, AdamW) of our model against transformers'
DeepSeek-V2.

    python -m benchmarks.train_step [--quick] [--threads N] [--device DEVICE] [--seconds S]
        [--out FOLDER]

Same configuration: latent attention, shared and routed experts, sizes, vocabulary; and the same
weights, so that the losses of both can be compared before anything is timed. Two rows compute
something else, and show what latent attention and the experts cost: our model with plain multi-head
attention, and our model without experts, equally wide in use.

transformers' DeepSeek-V2 has no balance loss. Ours is timed with it (as it is trained) and without.
On a CPU, torch's profiler tells which share of a step the matrix products take: both sides start
the same ones, so that share is what no other way to write the layer can save.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from transformers import DeepseekV2ForCausalLM

from benchmarks.timing import (
    RESULTS,
    add_device,
    chosen_devices,
    interleave,
    machine,
    save,
    summarise,
)
from moe_lib import LanguageModel, ModelConfig
from moe_lib.interop import from_transformers
from moe_lib.interop.configs import config_to_transformers
from moe_lib.training import make_optimiser

MLA = dict(attention="mla", qk_nope_head_dim=16, qk_rope_head_dim=16, v_head_dim=32)
CONFIGS = {
    "mini": ModelConfig.preset("mini", kv_lora_rank=64, q_lora_rank=None, **MLA),
    "64 experts": ModelConfig(
        vocab_size=4096,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=8,
        intermediate_size=512,
        n_routed_experts=64,
        num_experts_per_tok=6,
        n_shared_experts=2,
        moe_intermediate_size=64,
        first_k_dense_replace=1,
        max_position_embeddings=512,
        kv_lora_rank=128,
        q_lora_rank=None,
        **MLA,
    ),
}
QUICK = {
    "tiny": ModelConfig.preset("tiny", vocab_size=256, kv_lora_rank=32, q_lora_rank=None, **MLA)
}
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"}
OURS, EAGER, GROUPED = "ours", "transformers eager", "transformers grouped_mm"


def make_models(config: ModelConfig, device: str = "cpu") -> dict[str, nn.Module]:
    """Ours with and without the balance loss and transformers' two ways on equal weights; and two
    other models."""
    torch.manual_seed(0)
    models: dict[str, nn.Module] = {}
    for name, implementation in ((EAGER, "eager"), (GROUPED, "grouped_mm")):
        # a config of its own: set_experts_implementation writes into it, and a shared one would
        # change both models
        model = DeepseekV2ForCausalLM(config_to_transformers(config))
        if models:
            model.load_state_dict(models[EAGER].state_dict())
        model.set_experts_implementation(implementation)
        models[name] = model
    models[OURS] = from_transformers(models[EAGER])
    models[OURS].config = models[OURS].config.replace(aux_loss_alpha=0.0)
    models["ours, balance loss"] = from_transformers(models[EAGER])
    models["ours, balance loss"].config = config.replace(aux_loss_alpha=0.01)
    latent = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    plain = dict.fromkeys(latent)
    models["ours, plain attention"] = LanguageModel(
        config.replace(attention="mha", aux_loss_alpha=0.0, **plain)
    )
    models["ours, no experts"] = LanguageModel(without_experts(config))
    return {name: model.to(device).train() for name, model in models.items()}


def without_experts(config: ModelConfig) -> ModelConfig:
    """Every layer dense, as wide as what a token passes through in an MoE layer."""
    active = (config.num_experts_per_tok + config.n_shared_experts) * config.moe_intermediate_size
    return config.replace(
        intermediate_size=active, n_routed_experts=0, n_shared_experts=0, first_k_dense_replace=0
    )


def make_step(model: nn.Module, input_ids: Tensor) -> Callable[[], float]:
    """One training step in place -> the language-model loss before it."""
    optimiser = make_optimiser(model, learning_rate=1e-4)

    def step() -> float:
        output = model(input_ids=input_ids, labels=input_ids)
        (output.loss + getattr(output, "balance_loss", 0.0)).backward()
        optimiser.step()
        optimiser.zero_grad()
        return output.loss.item()

    return step


def share_of_products(step: Callable[[], float], repeats: int = 3) -> float:
    """The share of a step's time on the CPU that torch spends inside matrix products, 0 to 1."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(repeats):
            step()
    spent = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    return sum(spent.get(name, 0) for name in PRODUCTS) / sum(spent.values())


def measure(
    name: str, config: ModelConfig, batch: tuple[int, int], device: str, seconds: float
) -> list[dict]:
    """One row per model. Raises AssertionError if equal weights do not give equal losses over three
    steps."""
    models = make_models(config, device)
    input_ids = torch.randint(
        config.vocab_size, batch, generator=torch.Generator().manual_seed(1)
    ).to(device)
    steps = {competitor: make_step(model, input_ids) for competitor, model in models.items()}
    losses = {competitor: [step() for _ in range(3)] for competitor, step in steps.items()}
    for peer in (EAGER, GROUPED):
        gap = max(abs(a - b) for a, b in zip(losses[OURS], losses[peer], strict=True))
        assert gap < 1e-3, (
            f"{peer} and ours differ by {gap} in the loss: {losses[peer]}, {losses[OURS]}"
        )
    shares = {
        competitor: f"{share_of_products(step):.2f}" if device == "cpu" else ""
        for competitor, step in steps.items()
    }
    summary = summarise(interleave(steps, seconds=seconds, rounds=(5, 40)), OURS)
    return [
        {
            "config": name,
            "batch": batch[0],
            "sequence": batch[1],
            "competitor": competitor,
            **summary[competitor],
            "tokens_per_second": round(
                1e3 * batch[0] * batch[1] / summary[competitor]["median_ms"]
            ),
            "parameters": sum(p.numel() for p in model.parameters()),
            "third_loss": f"{losses[competitor][2]:.5f}",
            "share_of_products": shares[competitor],
            "device": device,
            **machine(device),
        }
        for competitor, model in models.items()
    ]


def main(arguments: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one tiny model, seconds")
    parser.add_argument("--threads", type=int, help="threads of torch on a CPU")
    add_device(parser)
    parser.add_argument("--seconds", type=float, default=40.0, help="time for each configuration")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result files")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    configs, batch = (QUICK, (2, 16)) if options.quick else (CONFIGS, (8, 128))
    seconds = min(options.seconds, 1.0) if options.quick else options.seconds
    every = []
    for device in chosen_devices(options):
        rows = []
        for name, config in configs.items():
            measured = measure(name, config, batch, device, seconds)
            for row in measured:
                print(
                    "{config:12s} {competitor:26s} {median_ms:9.2f} ms  {ratio:5.2f}x ours  "
                    "{tokens_per_second:7d} tokens/s  {parameters:9d} parameters  loss "
                    "{third_loss}  products {share_of_products}".format(**row),
                    flush=True,
                )
            rows += measured
        path = options.out / f"train_step_{device}{'_quick' * options.quick}.csv"
        save(rows, path)
        print(f"saved {path}", file=sys.stderr)
        every += rows
    return every


if __name__ == "__main__":
    main()
