"""The card of the checkpoint mini-v2-prompted, written from the study's own figures."""

from collections.abc import Mapping
from pathlib import Path

from moe_course.studies.running import require_shape, stored_rows
from moe_lib.errors import require
from moe_lib.files import write_atomically
from moe_lib.validation import Count, NonNegative, PathLike, Positive, Share, checked

_SPLITS = ("known_patterns", "test_combinations", "test_free")
_ROUGE = ("rouge1", "rouge2", "rougeL")
_WAYS = ("sum", "mean", "gain")

_TRANSLATED = {split: {"bleu": NonNegative, "exact": Share} for split in _SPLITS}
_RANKED = {"recall_at_1": Share, "recall_at_5": Share}
_SUMMARISED = dict.fromkeys(_ROUGE, Share)
_ABOUT = dict.fromkeys(("base", "command", "date", "torch", "python"), str)
_ABOUT |= {"weights": dict[str, Positive], "learning_rate": Positive, "steps": Count}
_BASELINES = {
    "translate": dict[str, dict],
    "summarise": {"lead": _SUMMARISED},
    "recommend": {"tf_idf": _RANKED},
    "write": {"real passages": {"asked": Share}},
}
_RUN = {
    "translate": _TRANSLATED,
    "summarise": _SUMMARISED,
    "recommend": {**dict.fromkeys(_WAYS, _RANKED), "invented": Share},
    "write": {"asked": Share},
    "cpu_seconds": NonNegative,
}


def _require_found(content: Mapping) -> None:
    """ValueError naming the field that the study would have found."""
    require_shape("content", content, {"about": _ABOUT, "baselines": _BASELINES})
    for who, figures in content["baselines"]["translate"].items():
        require_shape(f"content: 'baselines': 'translate': {who!r}", figures, _TRANSLATED)
    runs = stored_rows("content", content, "runs", seed=int)
    first = [place for place, run in enumerate(runs) if run["seed"] == 0]
    seeds = [run["seed"] for run in runs]
    require(first != [], "content: 'runs'", f"seeds {seeds}", "a run with seed 0")
    require_shape(f"content: 'runs'[{first[0]}]", runs[first[0]], _RUN)


@checked
def write_generation_card(content: Mapping, folder: PathLike) -> Path:
    """README.md in `folder`, from what `moe_course.studies.generation_study` found. Returns its
    path. ValueError naming a field that is missing or wrong in `content`."""
    _require_found(content)
    path = Path(folder) / "README.md"
    write_atomically(path, lambda temporary: temporary.write_text(_card(content), encoding="utf-8"))
    return path


def _card(content: dict) -> str:
    about, base = content["about"], content["baselines"]
    name = about["base"]
    this = next(run for run in content["runs"] if run["seed"] == 0)
    translation = [("this checkpoint", this["translate"]), *base["translate"].items()]
    chats = ", ".join(f"{task} {weight}" for task, weight in about["weights"].items())
    summaries = {"this checkpoint": this["summarise"], "first sentence": base["summarise"]["lead"]}
    summaries = _rows((who, *(f"{f[kind]:.3f}" for kind in _ROUGE)) for who, f in summaries.items())
    products = {f"this checkpoint, {way}": this["recommend"][way] for way in _WAYS}
    products["nearest by TF-IDF"] = base["recommend"]["tf_idf"]
    products = _rows(
        (who, f"{f['recall_at_1']:.3f}", f"{f['recall_at_5']:.3f}") for who, f in products.items()
    )
    command, seconds, runs = about["command"], this["cpu_seconds"], len(content["runs"])
    rate, versions = (
        about["learning_rate"],
        f"{about['date']}, torch {about['torch']}, Python {about['python']}",
    )
    return f"""# mini-v2-prompted

`{name}`, fine-tuned on four tasks at once, each named by its prompt: translate English into Chinese, summarise in a
sentence, recommend a product of the course's invented shop, go on in a style. Chapter 13's specimen, and no use for
anything else: read the baselines beside each figure.

    model, tokenizer = load_checkpoint("mini-v2-prompted")
    Translator(model, tokenizer)(["The hotel is near."])          # moe_lib.tuning.prompting

## Measured on texts held back

Seed 0, in float32, before the weights were rounded to bfloat16.

BLEU is of Chinese characters; "known": the patterns of the training sentences with other words in them, "new": new
patterns of known words, "free": free sentences.

| translation | BLEU, known | exactly right | BLEU, new | exactly right | BLEU, free | exactly right |
|---|---|---|---|---|---|---|
{_rows((who, *_translation(figures)) for who, figures in translation)}

| summaries | ROUGE-1 | ROUGE-2 | ROUGE-L |
|---|---|---|---|
{summaries}

| products, 104 requests | recall@1 | recall@5 |
|---|---|---|
{products}

Without the prefix tree {this["recommend"]["invented"]:.0%} of its recommendations name no product of the shop.
A judge of styles reads {this["write"]["asked"]:.0%} of its texts as the style asked for, and
{base["write"]["real passages"]["asked"]:.0%} of people's own passages.

## Recipe

- Make it again: `{command}` (the first of {runs} runs; {seconds:.0f} s of one core).
- {about["steps"]} steps, each of one task ({chats} of every 32), AdamW, peak learning rate {rate}, warm-up and cosine,
  seed 0. Loss on the answers only. {versions}.
- Data: the training parts of translation_en_zh, summaries and catalogue, all products, and training passages of four
  domains. Weights are stored in bfloat16.

## Limits and licence

See the cards of {name} and of the tasks. No facts, no judgement, no safety training. Texts: CC BY 4.0; these
weights: the licence of this repository.
"""


def _translation(figures: dict) -> list[str]:
    return [
        text
        for split in _SPLITS
        for text in (f"{figures[split]['bleu']:.1f}", f"{figures[split]['exact']:.0%}")
    ]


def _rows(rows) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
