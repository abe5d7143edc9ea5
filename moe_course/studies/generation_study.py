"""One prompted model for four tasks, three seeds: what each task gets of it, beside baselines.

    python -m moe_course.studies.generation_study       writes data/studies/generation.json (about
                                                        ten minutes)

    mixed      mini-v2, fine-tuned on the four tasks of moe_course.studies.generation_tasks at once
    baselines  what needs no training: copying, a lexicon, the nearest sentence or product, the lead
               sentence

The model of seed 0 becomes the checkpoint mini-v2-prompted. A study that is broken off goes on
where it was when the command is given again.
"""

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from moe_course.checkpoints.generation_card import write_generation_card
from moe_course.studies.generation_tasks import (
    BATCH_SIZES,
    BEGINNINGS,
    SPLITS,
    WEIGHTS,
    GenerationData,
    Lexicon,
    Nearest,
    StyleJudge,
    lead_sentence,
    load_generation_data,
    product_text,
    style_passages,
)
from moe_course.studies.running import STUDIES, about, kept_run, parser_of, rounded, runs_folder
from moe_lib.console import run_command, whole
from moe_lib.devices import device
from moe_lib.files import write_json
from moe_lib.model import LanguageModel
from moe_lib.paths import DATA
from moe_lib.text import load_corpus
from moe_lib.training import load_checkpoint, save_checkpoint
from moe_lib.tuning import FineTuned, bleu, finetune, recall_at_k, rouge
from moe_lib.tuning.prompting import (
    RECOMMEND,
    STYLES,
    SUMMARISE,
    AnswerLoss,
    TaskMixture,
    Translator,
    answer,
    chat,
    choice_ids,
    encode_chats,
    score_choices,
    style_chat,
)
from moe_lib.validation import Count, Positive, Seed, checked

STUDY = STUDIES / "generation.json"
CHECKPOINT = DATA / "checkpoints" / "mini-v2-prompted"
BASE = "mini-v2"
STEPS, SEEDS, LEARNING_RATE = 800, 3, 2e-3


@checked
def train_one(
    seed: Seed,
    data: GenerationData,
    *,
    steps: Count = STEPS,
    stop_after: Count | None = None,
    learning_rate: Positive = LEARNING_RATE,
):
    """Fine-tune mini-v2 on all four tasks -> (FineTuned, tokenizer).

    stop_after   end there, on the way of the longer schedule
    """
    model, tokenizer = load_checkpoint(BASE, device())
    encoded = {name: encode_chats(data.chats[name], tokenizer) for name in WEIGHTS}
    mixture = TaskMixture(encoded, BATCH_SIZES, weights=WEIGHTS, seed=seed)
    run: FineTuned = finetune(
        AnswerLoss(model),
        mixture,
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        callback=lambda row: stop_after is not None and row["step"] >= stop_after,
    )
    run.history["task"] = [mixture.task_of(step) for step in range(len(run.history))]
    return run, tokenizer


def measure_translation(
    translate, pairs: dict[str, list[dict]], splits: Sequence[str] = SPLITS
) -> dict:
    """BLEU (Chinese characters) and the share of sentences that equal their reference, per split.

    translate   texts -> texts
    """
    found = {}
    for split in splits:
        said = translate([pair["en"] for pair in pairs[split]])
        right = [pair["zh"] for pair in pairs[split]]
        exact = sum(one == other for one, other in zip(said, right, strict=True)) / len(right)
        found[split] = {"bleu": bleu(said, right, "zh"), "exact": exact}
    return found


def measure_summaries(said: Sequence[str], rows: Sequence[dict]) -> dict[str, float]:
    """ROUGE-1, -2 and -L, F from 0 to 1."""
    return rouge(list(said), [row["summary"] for row in rows])


def product_scores(
    model: LanguageModel, tokenizer, requests: Sequence[dict], names: Sequence[str]
) -> dict:
    """How a request ranks the products, three ways, (requests, products) each: the sum and the mean
    of the log-probabilities, and the sum minus that of the name after an empty request: what the
    request itself adds."""
    chats = [chat(row["request"], system=RECOMMEND) for row in requests]
    total = score_choices(model, tokenizer, chats, names)
    lengths = torch.tensor([len(ids) for ids in choice_ids(names, tokenizer)])
    prior = score_choices(model, tokenizer, [chat("A product.", system=RECOMMEND)], names)
    return {"sum": total, "mean": total / lengths, "gain": total - prior}


def measure_recommending(
    scores: dict[str, torch.Tensor], requests: Sequence[dict], ids: Sequence[str]
) -> dict:
    """recall@1 and recall@5 of each way to score."""
    right, found = [row["product_ids"] for row in requests], {}
    for way, table in scores.items():
        ranked = [
            [ids[place] for place in row[:5]] for row in table.argsort(descending=True).tolist()
        ]
        found[way] = {f"recall_at_{k}": recall_at_k(ranked, right, k) for k in (1, 5)}
    return found


def write_in_styles(
    model: LanguageModel, tokenizer, beginnings: Sequence[str] = BEGINNINGS
) -> list[tuple[str, str]]:
    """(style asked for, beginning and what was written) for every style and beginning."""
    asked = [(style, beginning) for style in STYLES for beginning in beginnings]
    said = answer(model, tokenizer, [style_chat(*pair) for pair in asked], max_new_tokens=48)
    return [
        (style, f"{beginning} {text}") for (style, beginning), text in zip(asked, said, strict=True)
    ]


def measure_styles(written: list[tuple[str, str]], judge: StyleJudge) -> dict[str, float]:
    """Share of the texts that the judge puts into the style asked for, and into the next of the
    list: the control."""
    styles, judged = list(STYLES), judge([text for _, text in written])
    following = {style: styles[(place + 1) % len(styles)] for place, style in enumerate(styles)}
    hits = [found == style for found, (style, _) in zip(judged, written, strict=True)]
    control = [found == following[style] for found, (style, _) in zip(judged, written, strict=True)]
    return {"asked": sum(hits) / len(hits), "another": sum(control) / len(control)}


def measure_all(model: LanguageModel, tokenizer, data: GenerationData, judge: StyleJudge) -> dict:
    """The figures of one mixed model on all four tasks."""
    names, ids = [p["name"] for p in data.products], [p["id"] for p in data.products]
    said = answer(model, tokenizer, [chat(row["text"], system=SUMMARISE) for row in data.summaries])
    free = answer(
        model, tokenizer, [chat(row["request"], system=RECOMMEND) for row in data.requests]
    )
    scores = product_scores(model, tokenizer, data.requests, names)
    return {
        "translate": measure_translation(Translator(model, tokenizer), data.pairs),
        "summarise": measure_summaries(said, data.summaries),
        "recommend": {
            **measure_recommending(scores, data.requests, ids),
            "invented": sum(text not in names for text in free) / len(free),
        },
        "write": measure_styles(write_in_styles(model, tokenizer), judge),
    }


def baselines(data: GenerationData, judge: StyleJudge) -> dict:
    """What needs no training, and what the judge makes of people's own passages."""
    train = data.pairs["train"]
    near = Nearest([pair["en"] for pair in train], [pair["zh"] for pair in train])
    shop = Nearest(
        [product_text(product) for product in data.products], [p["id"] for p in data.products]
    )
    ranked = shop.ranked([r["request"] for r in data.requests], 5)
    right = [r["product_ids"] for r in data.requests]
    real = [(style, text) for style, texts in data.passages.items() for text in texts]
    return {
        "translate": {
            "copy": measure_translation(list, data.pairs),
            "lexicon": measure_translation(lambda texts: list(map(Lexicon(), texts)), data.pairs),
            "nearest": measure_translation(
                lambda texts: [row[0] for row in near.ranked(texts)], data.pairs
            ),
        },
        "summarise": {
            "lead": measure_summaries(
                [lead_sentence(r["text"]) for r in data.summaries], data.summaries
            )
        },
        "recommend": {"tf_idf": {f"recall_at_{k}": recall_at_k(ranked, right, k) for k in (1, 5)}},
        "write": {"real passages": measure_styles(real, judge)},
    }


@checked
def run_one(
    seed: Seed,
    data: GenerationData,
    judge: StyleJudge,
    steps: Count = STEPS,
    kept: Path | None = None,
    checkpoint: Path | None = None,
) -> dict:
    """Train and measure. kept: a file to write the figures to; if it holds those of a run with the
    same settings, they are read instead. checkpoint: a folder for the model."""
    key = {"seed": seed, "base": BASE, "steps": steps, "learning_rate": LEARNING_RATE}
    key |= {"weights": WEIGHTS, "batch_sizes": BATCH_SIZES}
    return kept_run(kept, key, partial(_train_and_measure, seed, data, judge, steps, checkpoint))


def _train_and_measure(
    seed: int, data: GenerationData, judge: StyleJudge, steps: int, checkpoint: Path | None
) -> dict:
    started = time.process_time()
    run, tokenizer = train_one(seed, data, steps=steps)
    trained, model = time.process_time() - started, run.model.base
    figures = measure_all(model, tokenizer, data, judge)
    losses = (
        run.history.groupby(["task", (run.history["step"] - 1) // 32])["loss"].mean().unstack(0)
    )
    found = {
        "seed": seed,
        "steps": len(run.history),
        "cpu_seconds": trained,
        **figures,
        "loss": {name: losses[name].dropna().tolist() for name in losses},
        "first_losses": run.history["loss"][:8].tolist(),
    }
    if checkpoint:
        save_checkpoint(model, checkpoint, tokenizer, dtype=torch.bfloat16)
    print(rounded(found), f"{time.process_time() - started:.0f} s", flush=True)
    return found


@checked
def run_study(
    steps: Count = STEPS,
    seeds: Count = SEEDS,
    scratch: Path | None = None,
    checkpoint: Path | None = None,
) -> dict:
    """Every seed. scratch: a folder for finished runs; checkpoint: one for the model of seed 0."""
    torch.set_num_threads(1)
    data = load_generation_data()
    judge = StyleJudge(style_passages(load_corpus("mixture", split="train")))
    runs = [
        run_one(
            seed,
            data,
            judge,
            steps,
            scratch and scratch / f"seed-{seed}.json",
            checkpoint if seed == 0 else None,
        )
        for seed in range(seeds)
    ]
    facts = about(
        "generation_study",
        base=BASE,
        steps=steps,
        learning_rate=LEARNING_RATE,
        weights=WEIGHTS,
        batch_sizes=BATCH_SIZES,
    )
    return {"about": facts, "baselines": rounded(baselines(data, judge)), "runs": runs}


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("generation_study", __doc__)
    parser.add_argument(
        "--steps", type=whole(1), default=STEPS, help="fewer steps, to try it out; writes nothing"
    )
    parser.add_argument("--seeds", type=whole(1), default=SEEDS)
    chosen = parser.parse_args(arguments)
    complete = (chosen.steps, chosen.seeds) == (STEPS, SEEDS)
    scratch = runs_folder(f"generation_study-{chosen.steps}")
    content = run_study(chosen.steps, chosen.seeds, scratch, CHECKPOINT if complete else None)
    if complete:
        write_json(STUDY, content)
        write_generation_card(content, CHECKPOINT)


if __name__ == "__main__":
    sys.exit(run_command(main))
