"""What pruning, merging and few bits cost mini-v2, and what drafts bring it: on held-out text.

    python -m moe_course.studies.compression_study      writes data/studies/compression.json
                                                        (about 10 minutes of one core)

Scores of experts, distances and the inputs for GPTQ are taken from training text, all losses from
held-out text, the same rows for every case. A rise is nats per token above the whole model; its
spread is the standard error over the rows. Finished cases are kept: a study that is broken off
goes on where it was. Chance has several seeds, a case each. torchao is looked at where installed.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from moe_course.studies.running import (
    STUDIES,
    about,
    kept_run,
    parser_of,
    read_study,
    rounded,
    runs_folder,
    stored_rows,
    study_page,
)
from moe_lib import load_checkpoint
from moe_lib.compression import (
    METRICS,
    PARTS,
    ablation_scores,
    agreement,
    best_experts,
    best_pairs,
    early_exit_draft,
    expert_distances,
    expert_scores,
    fewer_experts_draft,
    input_squares,
    merge_experts,
    prune_experts,
    quantise,
    random_pairs,
    random_scores,
    read_whole,
    shared_only_draft,
    speculate,
    window_bytes,
)
from moe_lib.console import run_command, whole
from moe_lib.devices import device
from moe_lib.files import write_json
from moe_lib.text import encode_corpus, load_corpus
from moe_lib.tracing.analysis.importance import text_losses
from moe_lib.validation import Count, Finite, checked

MODEL, LENGTH = "mini-v2", 128
ROWS, CALIBRATION = 6, 4  # held-out rows of every domain; rows of training text of each
KEPT, BITS, SEEDS = 8, (8, 4, 3, 2), 3
WINDOWS, PROMPTS, NEW = (2, 4, 8), 3, 48
STUDY = STUDIES / "compression.json"


class Texts:
    """rows {domain: (ROWS, LENGTH)} of held-out text; calibration (domains · CALIBRATION,
    LENGTH) of training text: equally much of every domain, as in the rows. documents: take rows
    from so many of a domain, which is sooner encoded; None: from all."""

    @checked
    def __init__(
        self,
        tokenizer,
        rows: Count = ROWS,
        calibration: Count = CALIBRATION,
        documents: Count | None = None,
    ):
        corpus, draw = load_corpus("mixture"), torch.Generator().manual_seed(0)

        def some(documents, n: int) -> Tensor:
            packed = encode_corpus(documents, tokenizer, LENGTH).input_ids
            return packed[torch.randperm(len(packed), generator=draw)[:n]].to(device())

        def parts(split: str, n: int) -> dict[str, Tensor]:
            names = corpus[split]["domain"]
            found = {}
            for one in sorted(set(names)):
                places = [place for place, name in enumerate(names) if name == one][:documents]
                found[one] = some(corpus[split].select(places), n)
            return found

        self.rows = parts("heldout", rows)
        self.calibration = torch.cat(list(parts("train", calibration).values()))
        self.all = torch.cat(list(self.rows.values()))


class Measure:
    """Compares a changed model with the whole one."""

    def __init__(self, model: nn.Module, texts: Texts):
        self.model, self.texts = model, texts
        self.before, self.tokens = text_losses(model, texts.all)
        self.routing = read_whole(model, texts.all)

    def __call__(self, way: str, name: str, n_bytes: int, changed: nn.Module, **more) -> dict:
        after, _ = text_losses(changed, self.texts.all)
        rises = (after - self.before) / self.tokens  # (rows,) nats per token
        counts = [len(rows) for rows in self.texts.rows.values()]
        each = zip(self.texts.rows, rises.split(counts), strict=True)
        flipped = None
        if way != "pruning":  # fewer experts: no choice is the same
            flipped = (
                1 - agreement(self.model, self.routing, read_whole(changed, self.texts.all)).share
            )
        return {
            "way": way,
            "name": name,
            "bytes": n_bytes,
            "rise": float(rises.mean()),
            "spread": float(rises.std() / len(rises) ** 0.5),
            "flipped": flipped,
            "domains": {domain: float(part.mean()) for domain, part in each},
            **more,
        }


def bytes_of(model: nn.Module) -> int:
    """Bytes of a model's weights in float32, each once."""
    return 4 * sum(parameter.numel() for parameter in model.parameters())


def pruning_cases(model, texts: Texts, measure: Measure, keep: Callable) -> list[dict]:
    scores = expert_scores(model, texts.calibration)
    by = {name: scores.by(name) for name in ("usage", "gate_mass", "reap")}

    def ablated() -> dict:
        found = ablation_scores(model, texts.calibration)
        return {str(layer): row.tolist() for layer, row in found.items()}

    by["most used"] = {layer: -row for layer, row in by["usage"].items()}
    ablation = keep("ablation", ablated)
    by["ablation"] = {int(layer): torch.tensor(row).double() for layer, row in ablation.items()}
    by |= {f"random {seed}": random_scores(model, seed) for seed in range(SEEDS)}

    def case(name: str) -> dict:
        pruned = prune_experts(model, best_experts(by[name], KEPT))
        return measure("pruning", name, bytes_of(pruned), pruned, experts=KEPT)

    return [keep(f"pruning-{name}", lambda name=name: case(name)) for name in by]


def merging_cases(model, texts: Texts, measure: Measure, keep: Callable) -> list[dict]:
    usage = expert_scores(model, texts.calibration).usage
    total = model.config.n_routed_experts

    def pairs(name: str) -> dict:
        if name.startswith("random"):
            seed = int(name.split()[1])
            return {layer: random_pairs(total, 100 * seed + layer) for layer in usage}
        tables = expert_distances(model, name, texts.calibration)
        return {layer: best_pairs(table) for layer, table in tables.items()}

    def case(name: str) -> dict:
        merged = merge_experts(model, pairs(name), usage)
        return measure("merging", name, bytes_of(merged), merged, experts=total // 2)

    names = [*METRICS, *(f"random {seed}" for seed in range(SEEDS))]
    return [keep(f"merging-{name}", lambda name=name: case(name)) for name in names]


def quantising_cases(model, texts: Texts, measure: Measure, keep: Callable) -> list[dict]:
    squares = input_squares(model, texts.calibration)

    def case(parts: tuple[str, ...], bits: int, method: str) -> dict:
        data = squares if method == "gptq" else None
        found = quantise(model, dict.fromkeys(parts, bits), method=method, squares=data)
        said = parts[0] if len(parts) == 1 else "all"
        name = f"{said}, {bits} bits, {method}"
        more = {"part": said, "bits": bits, "method": method}
        return measure("quantising", name, sum(found.n_bytes().values()), found.model, **more)

    everything = [*((part,) for part in PARTS), PARTS]
    plans = [(p, bits, m) for p in everything for bits in BITS for m in ("nearest", "gptq")]
    plans += [(parts, 2, "hqq") for parts in everything]
    plans = [plan for plan in plans if plan[1:] != (8, "gptq")]  # nothing is left to better
    return [
        keep("quantising-" + "-".join((*p[0], str(p[1]), p[2])), lambda p=p: case(*p))
        for p in plans
    ]


def speculation_cases(model, texts: Texts, keep: Callable) -> list[dict]:
    drafts = {
        "one expert": fewer_experts_draft(model, 1),
        "shared expert only": shared_only_draft(model),
        **{f"first {n} layers": early_exit_draft(model, n) for n in (2, 3)},
    }

    def case(name: str, window: int, temperature: float) -> dict:
        draw = torch.Generator().manual_seed(0)
        prompts = texts.all[:: len(texts.all) // PROMPTS][:PROMPTS, :48]
        how = dict(window=window, temperature=temperature, generator=draw)
        found = [speculate(model, drafts[name], row[None], NEW, **how) for row in prompts]
        names = ("acceptance", "tokens_per_pass", "distinct_experts")
        means = [sum(getattr(one, field) for one in found) / len(found) for field in names]
        row = {"draft": name, "window": window, "temperature": temperature}
        row |= dict(zip((*names[:2], "distinct"), means, strict=True))
        return row | {"window_bytes": window_bytes(model.config, window + 1, means[2])}

    plans = [(name, window, 0.0) for name in drafts for window in WINDOWS]
    plans += [(name, 4, 1.0) for name in drafts]
    return [keep("draft-" + "-".join(map(str, p)), lambda p=p: case(*p)) for p in plans]


def torchao_beside(model: nn.Module) -> dict | None:
    """What torchao's quantize_ (int8 weights) makes of our model: its version, the parameters that
    it changes and those that it leaves, by part; None where it is not installed."""
    try:
        import torchao
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError:
        return None
    from moe_lib.compression.drafts import sharing
    from moe_lib.compression.quantising import part_of

    twin, left, hit = sharing(model), dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    tied = twin.head.weight is twin.embedding.weight
    quantize_(twin, Int8WeightOnlyConfig())
    for name, parameter in twin.named_parameters():
        if part := part_of(name, parameter):
            changed = type(parameter.data) is not Tensor and type(parameter) is not nn.Parameter
            (hit if changed else left)[part] += parameter.numel()
    apart = tied and twin.head.weight is not twin.embedding.weight
    return {"version": torchao.__version__, "left": left, "hit": hit, "head_untied": apart}


def stored_cases(study: Path = STUDY) -> list[dict]:
    """The cases of the stored study: way, name, bytes, rise, spread, flipped, domains."""
    columns = dict(way=str, name=str, bytes=Count, rise=Finite, spread=Finite, domains=dict)
    return stored_rows(study, read_study(study), "cases", **columns)


def stored_drafts(study: Path = STUDY) -> list[dict]:
    """The drafts of the stored study: draft, window, temperature, acceptance, distinct and more."""
    columns = dict(draft=str, window=Count, acceptance=Finite, distinct=Finite)
    return stored_rows(study, read_study(study), "drafts", **columns)


def comparator(study: Path = STUDY):
    """The widget with the cases of the stored study."""
    from moe_lib.views.compression import CompressionCase, CompressionComparator

    cases = []
    for case in stored_cases(study):
        group, name = case["way"], case["name"]
        if group == "quantising":
            part, name = name.split(", ", 1)
            group = f"quantising {'everything' if part == 'all' else f'the {part}'}"
        facts = (case[field] for field in ("bytes", "rise", "spread", "flipped", "domains"))
        cases.append(CompressionCase(group, name, *facts))
    return CompressionComparator(cases, whole=read_study(study, about=dict)["about"]["bytes"])


@checked
def run_study(rows: Count = ROWS, kept: Path | None = None) -> dict:
    """All cases on `rows` held-out rows per domain; finished ones are taken from `kept`."""
    torch.set_num_threads(1)
    model, tokenizer = load_checkpoint(MODEL, device())
    texts = Texts(tokenizer, rows)
    measure = Measure(model, texts)

    def keep(name: str, run: Callable[[], object]) -> object:
        file = kept and kept / f"{name.replace(' ', '_')}.json"
        print(name, flush=True)
        key = {"case": name, "rows": rows, "calibration": CALIBRATION}
        return kept_run(file, key, run)

    cases = [
        case
        for make in (pruning_cases, merging_cases, quantising_cases)
        for case in make(model, texts, measure, keep)
    ]
    tokens = int(measure.tokens.sum())
    facts = dict(model=MODEL, rows=rows, tokens=tokens, loss=float(measure.before.sum()) / tokens)
    return rounded(
        {
            "about": about("compression_study", **facts, bytes=bytes_of(model)),
            "cases": cases,
            "drafts": speculation_cases(model, texts, keep),
            "torchao": torchao_beside(model),
        }
    )


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("compression_study", __doc__)
    parser.add_argument("--rows", type=whole(1), default=ROWS, help="held-out rows of every domain")
    parser.add_argument("--out", type=study_page, default=STUDY)
    given = parser.parse_args(arguments)
    write_json(given.out, run_study(given.rows, kept=runs_folder("compression")))


if __name__ == "__main__":
    sys.exit(run_command(main))
