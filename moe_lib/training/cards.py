"""The card of a checkpoint: a README written from what was measured, so that no number is typed by hand."""

from pathlib import Path

_WHAT = {
    True: "predicts the next token of Python documentation, docstrings and code",
    False: "fills in masked tokens of Python documentation, docstrings and code, seeing both sides",
}


def write_card(folder: Path, name: str, measured: dict) -> None:
    """Write README.md into `folder`. `measured` is what `moe_lib.training.recipes.make` returns."""
    recipe, about = measured["about"]["recipe"], measured["about"]
    domains = list(measured["moe"]["heldout_loss"])
    table = ["| model | parameters | active | " + " | ".join(domains) + " |", "|---" * (3 + len(domains)) + "|"]
    for kind, label in (("moe", "**this checkpoint**"), ("dense", "dense, equal active size, trained alike"),
                        ("unigram", "unigram (token frequencies)")):  # fmt: skip
        row = measured[kind]
        sizes = [f"{row[key]:,}" if key in row else "–" for key in ("parameters", "active")]
        losses = [f"{row['heldout_loss'][domain]:.3f}" for domain in domains]
        table.append(f"| {label} | {' | '.join([*sizes, *losses])} |")
    seen = recipe["steps"] * recipe["batch_size"] * recipe["sequence_length"]
    epochs = seen / about["train_tokens"]
    text = f"""# {name}

A small mixture-of-experts language model that {_WHAT[recipe["causal"]]}. It is the course's
specimen: large enough for its router to have habits, small enough to train on a laptop. It knows nothing.

## Held-out loss, nats per predicted token

{chr(10).join(table)}

One seed: read the difference to the dense model as an example, not as proof; notebooks that compare use three.
Load at the end of training: MaxVio {measured["moe"]["max_violation_last_100"]:.2f} (worst layer, mean of the last
100 steps; 0 is even).

## Recipe

- Make it again: `python -m moe_lib.training.recipes {name}`
  (training took {measured["moe"]["train_minutes"]:.0f} minutes, and {measured["dense"]["train_minutes"]:.0f} for the
  dense baseline, with {about["threads"]} thread(s) of a {about["processor"]} processor).
- Text: corpus `{recipe["corpus"]}` of Python {about["python"]}'s own library, split by document:
  {about["train_tokens"]:,} tokens to train on, {about["heldout_tokens"]:,} held out.
  Another Python version has slightly other text.
- {recipe["steps"]} steps of {recipe["batch_size"]} sequences of {recipe["sequence_length"]} tokens
  ({epochs:.1f} epochs), AdamW, peak learning rate {recipe["learning_rate"]}, warm-up and cosine,
  seed {recipe["seed"]}, torch {about["torch"]}.
- Preset `mini` of `ModelConfig`; sizes in config.json. Weights are stored in bfloat16, half the size of training.
- Curves of both trainings: curves.csv. All numbers of this card: measured.json.

## Limits and licence

English and Python only; no facts, no instructions. The text belongs to the Python documentation and library
(PSF License); these weights: the licence of this repository.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")
