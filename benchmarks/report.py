"""Write the tables of benchmarks/README.md from the saved results: python -m benchmarks.report

A table stands between the lines `<!-- table NAME -->` and `<!-- end -->`; NAME is a function of
TABLES below. Nothing between them is typed by hand.
"""

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.layer_cases import DENSE, OURS, PEERS
from benchmarks.timing import RESULTS, load

README = Path(__file__).parent / "README.md"
BLOCK = re.compile(r"<!-- table (\w+) -->\n.*?<!-- end -->", re.DOTALL)
SIZES = ("d", "E", "I", "k", "tokens", "max_violation")


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def measured_on(row: dict[str, str]) -> str:
    return (
        f"{row['machine']}, {row['threads']} thread(s), torch {row['torch']}, transformers "
        f"{row['transformers']}, "
        f"{row['date']}."
    )


def by_sizes(rows: list[dict[str, str]]) -> dict[tuple[str, ...], dict[str, dict[str, str]]]:
    """The sizes of a case -> competitor -> row."""
    cases: dict = {}
    for row in rows:
        cases.setdefault(tuple(row[size] for size in SIZES), {})[row["competitor"]] = row
    return cases


def layer_table(rows: list[dict[str, str]]) -> str:
    cases = by_sizes(rows)
    names = [name for name in dict.fromkeys(row["competitor"] for row in rows) if name != DENSE]
    header = [
        "d",
        "E",
        "I",
        "k",
        "tokens",
        "MaxVio",
        "dense",
        *names,
        "fastest transformers / ours",
    ]
    body = []
    for sizes, found in cases.items():
        ratios = [f"{float(found[name]['ratio']):.2f}×" if name in found else "" for name in names]
        body.append(
            [
                *sizes,
                f"{float(found[DENSE]['median_ms']):.2f} ms",
                *ratios,
                f"{advantage(found):.2f}",
            ]
        )
    return f"{measured_on(rows[0])}\n\n{markdown(header, body)}"


def advantage(found: dict[str, dict[str, str]]) -> float:
    """How many times as fast as the faster of transformers' two ours is."""
    return min(float(found[peer]["ratio"]) for peer in PEERS) / float(found[OURS]["ratio"])


def goal(n_experts: int) -> float | None:
    """Times dense that were asked for; nothing was asked for other numbers of experts."""
    return 1.2 if n_experts <= 16 else 1.5 if n_experts == 64 else None


def goals_table(rows: list[dict[str, str]]) -> str:
    body = []
    for (d, E, width, k, tokens, _), found in list(by_sizes(rows).items())[:4]:
        ratio, wanted, gain = float(found[OURS]["ratio"]), goal(int(E)), advantage(found)
        body.append(
            [
                f"{d}, {E}, {width}, {k}, {tokens}",
                f"{wanted:.1f}×",
                f"{ratio:.2f}×",
                "yes" if ratio <= wanted else "no",
                "2",
                f"{gain:.2f}",
                "yes" if gain >= 2 else "no",
            ]
        )
    return markdown(
        [
            "d, E, I, k, tokens",
            "goal: times dense",
            "measured",
            "reached",
            "goal: times as fast as transformers",
            "measured",
            "reached",
        ],
        body,
    )


def parts_table(rows: list[dict[str, str]], kind: str) -> str:
    chosen = [row for row in rows if row["kind"] == kind]
    cases = list(dict.fromkeys(tuple(row[size] for size in SIZES[:5]) for row in chosen))
    cells: dict[str, dict] = {}
    for row in chosen:
        text = f"{float(row['ratio']):.2f}×" + (
            f" ({row['page_faults']} pages)" if row["page_faults"] else ""
        )
        cells.setdefault(row["name"], {})[tuple(row[size] for size in SIZES[:5])] = text
    body = [[name, *(found.get(case, "") for case in cases)] for name, found in cells.items()]
    header = [kind, *(", ".join(case) for case in cases)]
    return f"{measured_on(rows[0])} Columns: d, E, I, k, tokens.\n\n{markdown(header, body)}"


def train_table(rows: list[dict[str, str]]) -> str:
    body = [
        [
            row["config"],
            row["competitor"],
            f"{float(row['median_ms']):.1f} ms",
            f"{float(row['ratio']):.2f}×",
            f"{int(row['tokens_per_second']):,}",
            f"{int(row['parameters']):,}",
            row["third_loss"],
            row["share_of_products"],
        ]
        for row in rows
    ]
    header = [
        "configuration",
        "model",
        "one step",
        "times ours",
        "tokens/s",
        "parameters",
        "loss at step 3",
        "of it matrix products",
    ]
    return (
        f"{measured_on(rows[0])} {rows[0]['batch']} × {rows[0]['sequence']} "
        f"tokens.\n\n{markdown(header, body)}"
    )


TRAIN_GOALS = {"mini": 1.0, "64 experts": 1.3}  # times as fast as transformers' fastest


def train_goals_table(rows: list[dict[str, str]]) -> str:
    """Beside what was reached: the most that any other code around the same products could."""
    found = {(row["config"], row["competitor"]): row for row in rows}
    body = []
    for config in dict.fromkeys(row["config"] for row in rows):
        wanted = TRAIN_GOALS.get(config, 1.0)
        ours = found[config, OURS]
        fastest = min(float(found[config, peer]["ratio"]) for peer in PEERS)
        share = float(ours["share_of_products"])
        rest = (fastest / wanted - share) / (1 - share)
        body.append(
            [
                config,
                f"{wanted:.1f}",
                f"{fastest:.2f}",
                "yes" if fastest >= wanted else "no",
                f"{share:.0%}",
                "" if fastest >= wanted else f"{1 - rest:.0%}",
            ]
        )
    header = [
        "configuration",
        "goal: times as fast as transformers",
        "measured",
        "reached",
        "matrix products",
        "of the rest that would have to go",
    ]
    return markdown(header, body)


def generation_table(rows: list[dict[str, str]]) -> str:
    cases: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    for row in rows:
        cases.setdefault((row["config"], row["batch"], row["prompt"]), {})[row["competitor"]] = row
    body = []
    for case, found in cases.items():
        ours = found.pop("ours")
        fastest = min(found.values(), key=lambda row: float(row["ratio"]))
        ways = (
            ", ".join(
                f"{name.removeprefix('transformers ')} {float(row['ratio']):.2f}×"
                for name, row in found.items()
            )
            if len(found) > 1
            else ""
        )
        body.append(
            [
                *case,
                f"{float(ours['median_ms']):.0f} ms",
                f"{int(ours['tokens_per_second']):,}",
                f"{float(fastest['median_ms']):.0f} ms",
                f"{float(fastest['ratio']):.2f}",
                f"{float(fastest['ratio_low']):.2f} to {float(fastest['ratio_high']):.2f}",
                ways,
            ]
        )
    header = [
        "configuration",
        "batch",
        "prompt",
        "ours",
        "tokens/s",
        "fastest transformers",
        "times as fast",
        "middle half of the rounds",
        "transformers by its way to run experts",
    ]
    return f"{measured_on(rows[0])} {rows[0]['new']} new tokens.\n\n{markdown(header, body)}"


TABLES: dict[str, tuple[str, Callable[[list[dict[str, str]]], str]]] = {
    "layer_cpu": ("moe_layer_cpu", layer_table),
    "layer_cuda": ("moe_layer_cuda", layer_table),
    "goals": ("moe_layer_cpu", goals_table),
    "ways": ("moe_layer_cpu_ways", layer_table),
    "parts": ("moe_parts_cpu", lambda rows: parts_table(rows, "part")),
    "buffers": ("moe_parts_cpu", lambda rows: parts_table(rows, "numbers in a buffer")),
    "steps": ("moe_parts_cpu", lambda rows: parts_table(rows, "step")),
    "generation": ("generation_cpu", generation_table),
    "train_cpu": ("train_step_cpu", train_table),
    "train_goals": ("train_step_cpu", train_goals_table),
    "train_cuda": ("train_step_cuda", train_table),
}


def fill(text: str, results: Path = RESULTS) -> str:
    """`text` with every table made anew; a result file that is missing is said to be missing."""

    def table(match: re.Match) -> str:
        name = match.group(1)
        if name not in TABLES:
            raise ValueError(f"table: got {name!r}; wants one of {', '.join(TABLES)}")
        stem, make = TABLES[name]
        path = results / f"{stem}.csv"
        made = (
            make(load(path))
            if path.exists()
            else f"Not measured: results/{path.name} is not there."
        )
        return f"<!-- table {name} -->\n{made}\n<!-- end -->"

    return BLOCK.sub(table, text)


if __name__ == "__main__":
    README.write_text(fill(README.read_text(encoding="utf-8")), encoding="utf-8")
