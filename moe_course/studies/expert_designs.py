"""How to cut the experts: a study of six designs, trained for longer than a notebook can wait.

    python -m moe_course.studies.expert_designs        writes data/studies/expert_designs.json
                                                       (about 20 minutes)

One block, single bytes, real text. In the order of DeepSeekMoE, figure 3 (arXiv 2401.06066): few
big experts, one of them shared, finer ones, both; all with equal expert parameters, stored and used
per token. Besides: experts half as wide again, whose active size equals that of the finer designs
with their larger routers (DeepSeekMoE's "GShard x1.5"), and a dense layer of equal active width.
Runs with the same seed share the batches, and the weights outside the feed-forward layer at the
start, so that their differences can be taken seed by seed.
"""

import sys
from pathlib import Path

import pandas as pd
import torch

from moe_course.studies.running import (
    STUDIES,
    Curve,
    about,
    parser_of,
    read_study,
    rounded,
    stored_rows,
    study_page,
)
from moe_lib.config import ModelConfig
from moe_lib.console import run_command, whole
from moe_lib.counting import count_parameters
from moe_lib.devices import device
from moe_lib.errors import require, require_one_of
from moe_lib.files import write_json
from moe_lib.model import LanguageModel
from moe_lib.text import Batches, encode_corpus, evaluation_batches, load_corpus, train_tokenizer
from moe_lib.training import train
from moe_lib.validation import Count, Flag, Seed, checked

DESIGNS: dict[str, dict] = {
    "few big": dict(
        n_routed_experts=16, num_experts_per_tok=2, n_shared_experts=0, moe_intermediate_size=16
    ),
    "+ shared": dict(
        n_routed_experts=15, num_experts_per_tok=1, n_shared_experts=1, moe_intermediate_size=16
    ),
    "+ finer": dict(
        n_routed_experts=64, num_experts_per_tok=8, n_shared_experts=0, moe_intermediate_size=4
    ),
    "+ both": dict(
        n_routed_experts=63, num_experts_per_tok=7, n_shared_experts=1, moe_intermediate_size=4
    ),
    "half as wide again": dict(
        n_routed_experts=16, num_experts_per_tok=2, n_shared_experts=0, moe_intermediate_size=24
    ),
    "dense": dict(n_routed_experts=0, n_shared_experts=0, intermediate_size=32),
}
# A softmax over E experts gives gates of 1/E on average. Multiplied by E/k, k average gates sum to
# 1 in every design.
SCALED = ("few big", "+ both")
STUDY = STUDIES / "expert_designs.json"


@checked
def design_config(name: str, vocab_size: Count, scaled: Flag = False) -> ModelConfig:
    """The config of one design; `scaled` multiplies its gates by E / k."""
    require_one_of("name", name, DESIGNS)
    fields = DESIGNS[name]
    scalable = not scaled or fields["n_routed_experts"] > 0
    require(scalable, "scaled", scaled, f"False with name {name!r}, which has no experts")
    factor = fields["n_routed_experts"] / fields["num_experts_per_tok"] if scaled else 1.0
    # Wide initial weights and fast rotary positions: attention to the letter before is learnt
    # early, so that the feed-forward layer makes the difference.
    return ModelConfig.preset(
        "tiny",
        vocab_size=vocab_size,
        num_hidden_layers=1,
        num_attention_heads=4,
        rope_theta=100.0,
        initializer_range=0.1,
        routed_scaling_factor=factor,
        **fields,
    )


@checked
def make_model(config: ModelConfig, seed: Seed) -> LanguageModel:
    """A fresh model; whatever the design, the weights outside its feed-forward layer depend on the
    seed alone."""
    torch.manual_seed(seed)
    common = LanguageModel(
        config.replace(**DESIGNS["few big"], routed_scaling_factor=1.0)
    ).state_dict()
    model = LanguageModel(config)
    outside = {name: weight for name, weight in common.items() if ".feed_forward." not in name}
    model.load_state_dict(outside, strict=False)
    return model.to(device())


def stored_losses(study: Path = STUDY) -> pd.DataFrame:
    """The stored study: held-out loss in nats per byte, a row per (design, scaled_gates, seed), a
    column per step."""
    columns = dict(design=str, scaled_gates=bool, seed=Seed, heldout_loss=Curve)
    runs = pd.DataFrame(stored_rows(study, read_study(study), "runs", **columns))
    curves = runs.set_index(["design", "scaled_gates", "seed"])["heldout_loss"].apply(pd.Series)
    return curves.rename(columns=int).sort_index()


@checked
def run_study(
    steps: Count = 1200, seeds: Count = 5, rows: Count = 1024, evaluate_every: Count = 100
) -> dict:
    """Train every design with every seed; held-out loss in nats per byte. `rows` of held-out
    text."""
    torch.set_num_threads(1)
    corpus, letters = load_corpus("python_docstrings"), train_tokenizer([], vocab_size=272)
    practice = encode_corpus(corpus["train"], letters, 32).input_ids
    held_out = encode_corpus(corpus["heldout"], letters, 32).input_ids[:rows]
    exam = evaluation_batches(held_out, 64)
    variants, runs = [*((name, False) for name in DESIGNS), *((name, True) for name in SCALED)], []
    for seed in range(seeds):
        for name, scaled in variants:
            model = make_model(design_config(name, len(letters), scaled), seed)
            history = train(
                model,
                Batches(practice, 32, seed=seed),
                steps=steps,
                learning_rate=8e-3,
                evaluation=exam,
                evaluate_every=evaluate_every,
                progress=False,
            ).history
            curve = history.set_index(history["step"] + 1)["heldout_loss"].dropna()
            runs.append(
                {
                    "design": name,
                    "scaled_gates": scaled,
                    "seed": seed,
                    "heldout_loss": curve.to_dict(),
                }
            )
            print(
                f"seed {seed}, {name}{', scaled gates' if scaled else ''}: {curve.iloc[-1]:.3f}",
                flush=True,
            )
    sizes = {
        name: count_parameters(design_config(name, len(letters))).as_dict() for name in DESIGNS
    }
    facts = about(
        "expert_designs",
        steps=steps,
        tokens_per_step=32 * 32,
        learning_rate=8e-3,
        heldout_bytes=held_out.numel(),
    )
    return rounded({"about": facts, "parameters": sizes, "runs": runs})


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("expert_designs", __doc__)
    parser.add_argument("--steps", type=whole(1), default=1200, help="fewer steps, to try it out")
    parser.add_argument("--seeds", type=whole(1), default=5)
    parser.add_argument("--out", type=study_page, default=STUDY)
    chosen = parser.parse_args(arguments)
    write_json(
        chosen.out, run_study(chosen.steps, chosen.seeds, evaluate_every=max(1, chosen.steps // 12))
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
