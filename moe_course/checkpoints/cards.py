"""The card of a checkpoint: a README written from what was measured, so that no number is typed by
hand."""

from collections.abc import Mapping
from pathlib import Path

from moe_course.studies.running import require_shape
from moe_lib.errors import require
from moe_lib.files import write_atomically
from moe_lib.validation import Count, Finite, Name, Natural, NonNegative, PathLike, checked

_WHAT = {
    True: "predicts the next token of {}",
    False: "fills in masked tokens of {}, seeing both sides",
}
_TEXTS = {
    "python": "Python documentation, docstrings and code",
    "mixture": "Python text and of six small written domains, one of them Chinese",
}
_LIMITS = {
    "python": "English and Python only; no facts, no instructions. The text belongs to the Python "
    "documentation and "
    "library\n(PSF License); these weights: the licence of this repository.",
    "mixture": "Mostly Python text; of the written domains it has seen a few dozen documents each, "
    "several times over. "
    "No facts, no\ninstructions. The Python text belongs to the Python documentation and "
    "library (PSF License), the "
    "written domains are\nthe course's own (CC BY 4.0); these weights: the licence of this "
    "repository.",
}


_LOSSES = dict[str, Finite]
_MODEL = dict(heldout_loss=_LOSSES, parameters=Count, active=Count, train_minutes=NonNegative)
_MODEL["max_violation_last_100"] = NonNegative
_RECIPE = dict(steps=Count, batch_size=Count, sequence_length=Count, causal=bool, corpus=str)
_RECIPE |= dict(learning_rate=Finite, dense_learning_rate=Finite | None, seed=Natural, preset=str)
_RECIPE |= dict(tokenizer=str, written_times=Count, package_docs=bool, evaluate_every=Count | None)
_ABOUT = dict(recipe=_RECIPE, heldout_tokens=dict[str, Count], train_tokens=Count, threads=Count)
_ABOUT |= dict(processor=str, python=str, torch=str)
_MEASURED = dict(about=_ABOUT, moe=_MODEL, dense=_MODEL, unigram=dict(heldout_loss=_LOSSES))


def _require_measured(measured: Mapping) -> None:
    """ValueError naming the field that `recipes.make` would have given; the domains are those of
    the mixture of experts."""
    require_shape("measured", measured, _MEASURED)
    corpus = measured["about"]["recipe"]["corpus"]
    require(corpus in _TEXTS, "measured: 'corpus'", corpus, f"one of {', '.join(_TEXTS)}")
    domains = dict.fromkeys(["all", *measured["moe"]["heldout_loss"]], Finite)
    for kind in ("moe", "dense", "unigram"):
        require_shape(
            f"measured: {kind!r}: 'heldout_loss'", measured[kind]["heldout_loss"], domains
        )
    place = "measured: 'about': 'heldout_tokens'"
    require_shape(place, measured["about"]["heldout_tokens"], domains)


def _write(folder: Path, text: str) -> None:
    path = Path(folder) / "README.md"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


@checked
def write_card(folder: PathLike, name: Name, measured: Mapping) -> None:
    """Write README.md into `folder`. `measured` is what `moe_course.checkpoints.recipes.make`
    returns; ValueError naming a field that is missing or wrong in it."""
    _require_measured(measured)
    recipe, about = measured["about"]["recipe"], measured["about"]
    domains = list(measured["moe"]["heldout_loss"])
    table = [
        "| model | parameters | active | " + " | ".join(domains) + " |",
        "|---" * (3 + len(domains)) + "|",
    ]
    for kind, label in (
        ("moe", "**this checkpoint**"),
        ("dense", "dense, equal active size, trained alike"),
        ("unigram", "unigram (token frequencies)"),
    ):
        row = measured[kind]
        sizes = [f"{row[key]:,}" if key in row else "–" for key in ("parameters", "active")]
        losses = [f"{row['heldout_loss'][domain]:.3f}" for domain in domains]
        table.append(f"| {label} | {' | '.join([*sizes, *losses])} |")
    counts = [f"{about['heldout_tokens'][domain]:,}" for domain in domains]
    table.append(f"| held-out tokens | – | – | {' | '.join(counts)} |")
    seen = recipe["steps"] * recipe["batch_size"] * recipe["sequence_length"]
    epochs = seen / about["train_tokens"]
    what = _WHAT[recipe["causal"]].format(_TEXTS[recipe["corpus"]])
    text = f"""# {name}

A small mixture-of-experts language model that {what}. It is the course's
specimen: large enough for its router to have habits, small enough to train on a laptop. It knows nothing.

## Held-out loss, nats per predicted token

{chr(10).join(table)}

One seed: read the difference to the dense model as an example, not as proof; notebooks that compare use three.
Load at the end of training: MaxVio {measured["moe"]["max_violation_last_100"]:.2f} (worst layer, mean of the last
100 steps; 0 is even).{_passing(measured)}

## Recipe

- Make it again: `python -m moe_course.checkpoints.recipes {name}`
  (training took {measured["moe"]["train_minutes"]:.0f} minutes, and {measured["dense"]["train_minutes"]:.0f} for the
  dense baseline, with {about["threads"]} thread(s) of a {about["processor"]} processor).
- Text: {_text(recipe)} of Python {about["python"]}'s own library, split by document:
  {about["train_tokens"]:,} tokens to train on, {about["heldout_tokens"]["all"]:,} held out.
  Another Python version has slightly other text.
- {recipe["steps"]} steps of {recipe["batch_size"]} sequences of {recipe["sequence_length"]} tokens
  ({epochs:.1f} epochs), AdamW, peak learning rate {_rates(recipe)}, warm-up and cosine,
  seed {recipe["seed"]}, torch {about["torch"]}.
- Preset `{recipe["preset"]}` of `ModelConfig`, tokenizer `{recipe["tokenizer"]}`; sizes in config.json.
  Weights are stored in bfloat16, half the size of training.
- Curves of both trainings: curves.csv. All numbers of this card: measured.json.{_routing(recipe)}

## Limits and licence

{_LIMITS[recipe["corpus"]]}
"""
    _write(folder, text)


@checked
def write_dense_card(folder: PathLike, name: Name, measured: Mapping) -> None:
    """Write README.md for the dense baseline of the checkpoint `name`, from the same
    measurements."""
    _require_measured(measured)
    dense, moe = (measured[kind]["heldout_loss"]["all"] for kind in ("dense", "moe"))
    text = f"""# {name}-dense

The dense baseline of [{name}](../{name}/README.md): every block has one feed-forward layer as wide as what a token
passes through there. Same text, same batches, same steps, same seed; {measured["dense"]["parameters"]:,} parameters,
all of them active.

Held-out loss, nats per predicted token: {dense:.3f} (the mixture of experts: {moe:.3f}; domain by domain in its card).

Make it again, together with its sibling: `python -m moe_course.checkpoints.recipes {name}`. Limits and licence as there.
"""
    _write(folder, text)


def _text(recipe: dict) -> str:
    if recipe["written_times"] == 1:
        return f"corpus `{recipe['corpus']}`"
    if recipe["package_docs"]:
        return (
            f"corpus `{recipe['corpus']}`, its written documents {recipe['written_times']} times "
            "over, the docstrings of the course's pinned packages (`package_docs`), the others"
        )
    return (
        f"corpus `{recipe['corpus']}`, its written documents {recipe['written_times']} times "
        "over, the others"
    )


def _rates(recipe: dict) -> str:
    dense = recipe["dense_learning_rate"]
    return f"{recipe['learning_rate']}" + (f" (dense: {dense})" if dense else "")


def _routing(recipe: dict) -> str:
    if not recipe["evaluate_every"]:
        return ""
    return (
        "\n- routing_over_training.safetensors: the experts that a fixed held-out text chose at "
        "several steps."
    )


def _passing(measured: dict) -> str:
    about = measured["about"]
    if "passes_dense_after" not in about:
        return ""
    step, steps = about["passes_dense_after"], about["recipe"]["steps"]
    if step is None:
        return (
            "\nOn a fixed sample of the held-out text it never got as low as the dense model's "
            "last loss."
        )
    return (
        "\nOn a fixed sample of the held-out text it was as low as the dense model's last "
        f"loss after {step} of "
        f"{steps} steps,\n{step / steps:.0%} (measured every "
        f"{about['recipe']['evaluate_every']} steps)."
    )
