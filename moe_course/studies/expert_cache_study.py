"""What a cache of experts would hit on mini-v2, by domain, and how well the next layer is guessed.

    python -m moe_course.studies.expert_cache_study     writes data/studies/expert_cache.json
                                                        (about 2 minutes of one core)

Held-out text is replayed token by token through a cache of 4 of 16 experts per layer. Beside each
policy stand its controls: the same tokens shuffled, and experts drawn by chance. Whatever is fitted
(the static set, popularity, the transition table) is fitted on training text of the same domain.
"""

import sys

from torch import Tensor, nn

from moe_course.studies.compression_study import LENGTH, Texts
from moe_course.studies.running import STUDIES, about, parser_of, rounded, study_page
from moe_lib import RoutingTrace, load_checkpoint, trace_routing
from moe_lib.console import one_text, run_command, whole
from moe_lib.devices import device
from moe_lib.files import write_json
from moe_lib.tracing.cache_statistics import hit_rates
from moe_lib.tracing.prefetching import KINDS, guess_experts, guess_recall
from moe_lib.validation import Count, checked

MODEL, ROWS, SLOTS = "mini-v2", 16, 4
STUDY = STUDIES / "expert_cache.json"


@checked
def run_study(model: str = MODEL, rows: Count = ROWS, num_slots: Count = SLOTS) -> dict:
    """The study of one checkpoint: {"about": …, "domains": {domain: {"hit_rates": see
    `moe_lib.tracing.cache_statistics.hit_rates`, "recall": {kind: mean over the layers}}}}."""
    network, tokenizer = load_checkpoint(model)
    network.to(device())
    texts = Texts(tokenizer, rows, rows)
    seen = dict(zip(texts.rows, texts.calibration.split(rows), strict=True))
    domains = {
        name: _domain(network, held_out, seen[name], num_slots)
        for name, held_out in texts.rows.items()
    }
    given = {"model": model, "rows": rows, "num_slots": num_slots}
    asked = {"model": MODEL, "rows": ROWS, "num_slots": SLOTS}
    options = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in given.items()
        if value != asked[name]
    ]
    facts = {"tokens_per_domain": rows * LENGTH, "num_experts_per_tok": _chosen(network)}
    return {
        "about": about("expert_cache_study", " ".join(options), **given, **facts),
        "domains": rounded(domains),
    }


def _chosen(network: nn.Module) -> int:
    return network.config.num_experts_per_tok


def _domain(network: nn.Module, held_out: Tensor, seen: Tensor, num_slots: int) -> dict:
    trace, other = trace_routing(network, held_out), trace_routing(network, seen)
    recall = {kind: _recall(trace, kind, other, network) for kind in KINDS}
    return {"hit_rates": hit_rates(trace, num_slots, other), "recall": recall}


def _recall(trace: RoutingTrace, kind: str, other: RoutingTrace, network: nn.Module) -> float:
    """Of the layers that every kind can guess: all but the first."""
    how = {"model": network} if kind == "next_router" else {"fitted_on": other}
    found = guess_recall(trace, guess_experts(trace, kind, _chosen(network), **how))
    later = [found[layer.index] for layer in trace.layers[1:]]
    return sum(later) / len(later)


def main(arguments: list[str] | None = None) -> None:
    parser = parser_of("expert_cache_study", __doc__)
    parser.add_argument("--model", type=one_text, default=MODEL, help="a checkpoint")
    parser.add_argument("--rows", type=whole(1), default=ROWS, help="rows of every domain")
    parser.add_argument("--num-slots", type=whole(1), default=SLOTS, help="experts per layer")
    parser.add_argument("--out", type=study_page, default=STUDY)
    given = vars(parser.parse_args(arguments))
    write_json(given.pop("out"), run_study(**given))


if __name__ == "__main__":
    sys.exit(run_command(main))
