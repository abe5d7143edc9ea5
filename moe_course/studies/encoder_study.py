"""A base that reads: MiniLM and its upcycled twin, tuned on English texts, between floors.

    python -m moe_course.studies.encoder_study     writes data/studies/encoder.json (hours of one
                                                   core; needs MiniLM: python3 course.py models)
    python -m moe_course.studies.encoder_study --tasks sentiment --seeds 5     a part, not written

    four intents   account_access, order_status, discount_code and damaged_item of support_intent
    intents        all 13 of them; both without the messages in Chinese, which MiniLM cannot read
    sentiment      market_sentiment

The cases:

    chance, majority        1 / number of classes; the commonest class of the training set
    TF-IDF                  of characters, then logistic regression
    random, frozen          MiniLM's design with random weights (a seed each), mean-pooled, then
                            logistic regression: what a head alone can do
    MiniLM, frozen          the same with its weights
    dense                   MiniLM, all of it tuned with a head (mean pooling)
    MoE                     MiniLM upcycled to 8 experts, two per token, all of it tuned with the
                            same head and a balance loss

TF-IDF and both frozen cases take the strength of their regression (C) from the validation set. Each
design's learning rate is the best on validation, by seed TUNING_SEED; RATES grow by another one
until a slower and a faster rate have both done worse. Every finished run is kept: a study that is
broken off goes on where it was when the command is given again.
"""

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from moe_course.data_tools.task_measures import text_classifiers
from moe_course.studies.running import STUDIES, about, kept_run, parser_of, runs_folder
from moe_lib.console import run_command, whole
from moe_lib.files import write_json
from moe_lib.interop import upcycle_transformers
from moe_lib.opening import open_model
from moe_lib.text import load_task
from moe_lib.tuning import Examples, SequenceClassifier, encode_texts, finetune, predict
from moe_lib.tuning.encoders import TransformersEncoder
from moe_lib.tuning.head_parts import pool
from moe_lib.validation import Choice, Count, checked

STUDY = STUDIES / "encoder.json"
FOUR = ("account_access", "order_status", "discount_code", "damaged_item")
EPOCHS = {"four intents": 4, "intents": 3, "sentiment": 2}
FLOORS = ("chance", "majority", "TF-IDF", "random, frozen", "MiniLM, frozen")
TUNED = ("dense", "MoE")
SEEDED = ("random, frozen", *TUNED)
RATES = (1e-4, 2e-4, 4e-4)
TUNING_SEED, BATCH, STRENGTHS = 100, 32, (1.0, 10.0, 100.0)
N_EXPERTS, PER_TOKEN = 8, 2


def task_texts(task: str) -> dict[str, tuple[list[str], np.ndarray]]:
    """Split -> (texts, labels (n,) int64, from 0), English only."""
    name, column = ("market_sentiment", "label")
    if task != "sentiment":
        name, column = ("support_intent", "intent")
    found = {}
    for split, rows in load_task(name).items():
        names = rows.features[column].names
        chosen = FOUR if task == "four intents" else names
        if task != "sentiment":
            english = rows.features["language"].str2int("en")
            rows = rows.select([i for i, at in enumerate(rows["language"]) if at == english])
        pairs = zip(rows["text"], rows[column], strict=True)
        kept = [(text, chosen.index(names[at])) for text, at in pairs if names[at] in chosen]
        found[split] = [text for text, _ in kept], np.array([label for _, label in kept])
    return found


def scores(predicted: dict[str, np.ndarray], texts: dict) -> dict:
    """Accuracy of each split, and which texts of the test set are right, as "0110…"."""
    right = {split: at == texts[split][1] for split, at in predicted.items()}
    found = {split: float(at.mean()) for split, at in right.items()}
    return {**found, "right": "".join(str(int(at)) for at in right["test"])}


def regression(features: dict, texts: dict, make: Callable) -> dict:
    """Scores of make(C), fitted on the training set, with the C that is best on validation."""
    fitted = [make(c).fit(features["train"], texts["train"][1]) for c in STRENGTHS]
    held_out = features["validation"], texts["validation"][1]
    best = max(fitted, key=lambda one: one.score(*held_out))
    return scores({split: best.predict(at) for split, at in features.items()}, texts)


def floor(case: str, task: str, seed: int) -> dict:
    """One of FLOORS."""
    from sklearn.linear_model import LogisticRegression

    texts = task_texts(task)
    classes = np.bincount(texts["train"][1])
    started = time.process_time()
    if case == "chance":
        found = {split: 1 / len(classes) for split in texts}
    elif case == "majority":
        guess = int(classes.argmax())
        found = scores({k: np.full(len(at), guess) for k, (_, at) in texts.items()}, texts)
    elif case == "TF-IDF":

        def counting(c: float):
            return text_classifiers()["characters"].set_params(logisticregression__C=c)

        found = regression({k: at for k, (at, _) in texts.items()}, texts, counting)
    else:
        base, tokenizer = open_model("minilm")
        base = _random_twin(base, seed) if case == "random, frozen" else base
        features = {k: sentence_vectors(base, tokenizer, at) for k, (at, _) in texts.items()}
        found = regression(features, texts, lambda c: LogisticRegression(C=c, max_iter=2000))
    return {**found, "cpu_seconds": time.process_time() - started}


def _random_twin(base: nn.Module, seed: int) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return type(base)(base.config).eval()


@torch.no_grad()
def sentence_vectors(base: nn.Module, tokenizer, texts: Sequence[str]) -> np.ndarray:
    """Texts -> (n, hidden_size), the mean hidden state of each, in the order given. Texts of a
    length are read together, so that little is padding."""
    encoded = encode_texts(texts, None, tokenizer)
    order = sorted(range(len(encoded)), key=lambda place: len(encoded.rows[place]["input_ids"]))
    reader, found = TransformersEncoder(base.eval()), []
    for batch in Examples(encoded.select(order), BATCH):
        found.append(pool(reader(**batch), batch["attention_mask"], "mean"))
    vectors = torch.cat(found).numpy()
    return vectors[np.argsort(order)]


def tuned(case: str, task: str, rate: float, seed: int, steps: int | None = None) -> dict:
    """Fine-tune all of MiniLM ("dense") or of its upcycled twin ("MoE") -> scores, CPU seconds,
    parameters, and the bytes of weights, gradients and AdamW's two moments. The seed is that of
    the order, the dropout, the head and the router."""
    texts = task_texts(task)
    base, tokenizer = open_model("minilm")
    if case == "MoE":
        base = upcycle_transformers(base, N_EXPERTS, PER_TOKEN, seed=seed)
    names = [str(number) for number in range(1 + max(int(at.max()) for _, at in texts.values()))]
    encoded = {
        split: encode_texts(at, labels.tolist(), tokenizer, label_names=names, allow_empty=True)
        for split, (at, labels) in texts.items()
    }
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        head = SequenceClassifier(base, len(names))
    length = {"epochs": EPOCHS[task]} if steps is None else {"steps": steps}
    started = time.process_time()
    batches = Examples(encoded["train"], BATCH, seed=seed)
    run = finetune(head, batches, learning_rate=rate, seed=seed, **length)
    seconds = time.process_time() - started
    sizes = [p.numel() for p in head.parameters()]
    said = {k: predict(head, Examples(at, 64)).predicted.numpy() for k, at in encoded.items()}
    return {
        **scores(said, texts),
        "steps": len(run.history),
        "cpu_seconds": seconds,
        "max_violation": float(run.history["max_violation"].tail(5).mean()),
        "parameters": sum(sizes),
        "training_bytes": 4 * 4 * sum(sizes),
    }


def kept(task: str, case: str, seed: int, rate: float | None = None) -> dict:
    """A run, from the folder of finished runs if it is there."""
    key = {"task": task, "case": case, "seed": seed, "rate": rate, "epochs": EPOCHS[task]}
    name = f"{task}, {case}, {rate}, {seed}.json".replace(" ", "_").replace(",", "")
    run = (lambda: tuned(case, task, rate, seed)) if rate else (lambda: floor(case, task, seed))
    found = kept_run(runs_folder("encoder_study") / name, key, run)
    print(f"{task}: {case}, {rate}, seed {seed}: {found['test']:.3f}", flush=True)
    return {"task": task, "case": case, "seed": seed, "rate": rate, **found}


def best_rate(validation: Callable[[float], float], rates: Sequence[float] = RATES) -> tuple:
    """(the rate with the highest `validation`, all that were tried): the ends grow by a factor of
    2 until the best has a slower and a faster one beside it. Of equals the slower one counts."""
    tried = {rate: validation(rate) for rate in rates}
    while len(tried) < 12:
        best = max(sorted(tried), key=tried.get)
        if min(tried) < best < max(tried):
            break
        rate = best / 2 if best == min(tried) else best * 2
        tried[rate] = validation(rate)
    return max(sorted(tried), key=tried.get), dict(sorted(tried.items()))


@checked
def run_study(tasks: Sequence[Choice(*EPOCHS)], seeds: Count) -> dict:
    """All runs of these tasks: {"runs": a row each, "rates": a row per rate tried}. ValueError or
    TypeError for another task, or a number of seeds below 1."""
    torch.set_num_threads(1)
    runs, rates = [], []
    for task in tasks:
        for case in FLOORS:
            many = range(seeds if case in SEEDED else 1)
            runs += [kept(task, case, seed) for seed in many]
    for task in tasks:
        for case in TUNED:

            def validation(rate: float, task=task, case=case) -> float:
                row = kept(task, case, TUNING_SEED, rate)
                rates.append({k: at for k, at in row.items() if k != "right"})
                return row["validation"]

            best, _ = best_rate(validation)
            runs += [kept(task, case, seed, best) for seed in range(seeds)]
    return {"runs": runs, "rates": rates}


def bootstrap(right: np.ndarray, other: np.ndarray, draws: int = 2000, seed: int = 0) -> tuple:
    """(low, mean, high) of the difference of two accuracies over draws of seeds and of texts, 95 %.

    right, other   (seeds, n) of 0 and 1, the same n texts; a draw takes n texts with replacement,
                   the same for both, and seeds of each
    """
    generator, n = np.random.default_rng(seed), right.shape[1]
    found = []
    for _ in range(draws):
        texts = generator.integers(n, size=n)
        picked = [at[generator.integers(len(at), size=len(at))] for at in (right, other)]
        found.append(picked[0][:, texts].mean() - picked[1][:, texts].mean())
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(right.mean() - other.mean()), float(high)


def right_of(runs: Sequence[dict], task: str, case: str) -> np.ndarray:
    """(seeds, n) of 0 and 1: which texts of the test set each run of a case has right."""
    rows = [row["right"] for row in runs if (row["task"], row["case"]) == (task, case)]
    return np.array([[int(at) for at in row] for row in rows])


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("encoder_study", __doc__)
    parser.add_argument("--tasks", nargs="+", choices=EPOCHS, help="only these, without writing")
    parser.add_argument("--seeds", type=whole(1), default=20, help="fewer: without writing")
    chosen = parser.parse_args(arguments)
    found = run_study(chosen.tasks or list(EPOCHS), chosen.seeds)
    for task in chosen.tasks or EPOCHS:
        counted = right_of(found["runs"], task, "TF-IDF")
        for case in ("MiniLM, frozen", *TUNED):
            low, mean, high = bootstrap(right_of(found["runs"], task, case), counted)
            print(f"{task}: {case} minus TF-IDF {mean:+.3f} ({low:+.3f} to {high:+.3f})")
    if chosen.tasks is None and chosen.seeds == 20:
        write_json(STUDY, {"about": about("encoder_study", epochs=EPOCHS, batch=BATCH), **found})


if __name__ == "__main__":
    sys.exit(run_command(main))
