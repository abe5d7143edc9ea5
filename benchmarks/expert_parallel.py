"""Experts on several processes: ours beside transformers' own expert parallelism and one process.

python -m benchmarks.expert_parallel [--ranks N] [--rounds N]

All run the same weights on the same tokens, forward and backward; before anything is timed their
logits must agree. Then the cost model: fitted to exchanges measured here, tried on sizes between,
and used for DeepSeek-V3's cluster; and placements of experts for loads of a trained model.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist

from moe_lib import LanguageModel, ModelConfig, load_checkpoint, trace_routing
from moe_lib.interop import from_transformers, save_transformers
from moe_lib.parallel import Traffic, here, join, launch, shard_experts
from moe_lib.parallel.cost import (
    Cluster,
    Link,
    device_hours,
    fit_link,
    relative_errors,
    step_cost,
)
from moe_lib.parallel.measuring import measure_exchanges
from moe_lib.parallel.placement import (
    balanced_copies,
    busiest_over_mean,
    device_loads,
    devices_of_tokens,
    in_order,
    pack,
)
from moe_lib.published import published

ONE, OURS, LIMITED, THEIRS = "one process", "ours", "ours, one device a token", "transformers"
# hidden_size, experts, k, rows of a rank, tokens of a row
CASES = {"small": (64, 8, 2, 4, 64), "wide": (256, 16, 4, 4, 128)}
BYTES = [2**n for n in range(12, 25)]
# A cluster as DeepSeek-V3 was trained on: H800, links of its report's section 3.2.2.
H800 = Cluster(989e12, 0.4, 8, Link(1e-5, 160e9), Link(1e-5, 50e9))


def config_of(name: str, ranks: int, limited: bool = False) -> ModelConfig:
    """One block of DeepSeek-V2's kind; limited: a token's experts are on one rank."""
    hidden, experts, k, _, _ = CASES[name]
    latent = dict(kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=16, v_head_dim=16)
    router = dict(router="group_limited", n_group=ranks, topk_group=1) if limited else {}
    sizes = dict(vocab_size=512, hidden_size=hidden, num_hidden_layers=1, attention="mla")
    wide = dict(n_routed_experts=experts, num_experts_per_tok=k, moe_intermediate_size=hidden // 2)
    return ModelConfig(**sizes, **latent, **wide, **router, n_shared_experts=1)


def tokens_of(name: str) -> torch.Tensor:
    *_, rows, length = CASES[name]
    generator = torch.Generator().manual_seed(here().rank)
    return torch.randint(0, 512, (rows, length), generator=generator)


def spread_by_transformers(model, ranks: int):
    """Their exchange of tokens, without their sharding of the rest; and a list that every exchange
    adds its (rows, bytes of a row, rows to each rank) to."""
    from torch.distributed.device_mesh import init_device_mesh
    from transformers.distributed import expert_parallel as theirs

    mesh = init_device_mesh("cpu", (ranks, 1), mesh_dim_names=("ep", "tp"))
    plan = {key.replace("*", "0"): how for key, how in model.config.base_model_ep_plan.items()}
    plan = {f"model.{key}": how for key, how in plan.items()}
    theirs.apply_expert_parallelism(model, mesh["ep"], mesh["tp"], plan, "all_to_all")
    sent, original = [], theirs.all_to_all_single_autograd

    def counted(rows, back, to, group):
        away = sum(number for rank, number in enumerate(to) if rank != here().rank)
        sent.append(away * rows.shape[1] * rows.element_size())
        return original(rows, back, to, group)

    theirs.all_to_all_single_autograd = counted
    return model, sent


def measure(folder: str, names: list[str], rounds: int) -> dict:
    """Runs on every rank: {case: {kind: [median ms of a round, KiB sent, largest difference]}}."""
    from transformers import AutoModelForCausalLM

    ranks = join().size
    torch.set_num_threads(1)
    found = {}
    for name in names:
        ids, path = tokens_of(name), Path(folder) / name
        official = AutoModelForCausalLM.from_pretrained(path)
        theirs, sent = spread_by_transformers(official.train(), ranks)
        torch.manual_seed(0)
        models = {
            ONE: from_transformers(path),
            OURS: shard_experts(from_transformers(path)),
            LIMITED: shard_experts(limited(path, config_of(name, ranks, limited=True))),
            THEIRS: theirs,
        }
        logits = {kind: model(ids).logits.detach() for kind, model in models.items()}
        rows = {}
        for kind, model in models.items():
            same = ONE if kind != LIMITED else LIMITED  # that one chooses other experts
            difference = float((logits[kind] - logits[same]).abs().max())
            assert difference < 1e-5, f"{kind} differs from {same} by {difference}"
            sent.clear()
            with Traffic() as traffic:
                model(ids)
            n_bytes = sum(sent) or traffic.bytes()
            rows[kind] = [n_bytes / 1024, difference]
        medians = timed(models, ids, rounds)
        found[name] = {kind: [medians[kind], *row] for kind, row in rows.items()}
    exchanges = measure_exchanges(BYTES)
    return {"cases": found, "exchanges": exchanges}


def limited(folder: Path, config: ModelConfig) -> LanguageModel:
    """The same weights, with a router that keeps a token on one device."""
    model = LanguageModel(config)
    model.load_state_dict(from_transformers(folder).state_dict())
    return model


def timed(models: dict, ids: torch.Tensor, rounds: int) -> dict[str, float]:
    """Median milliseconds of a forward and backward pass of each, one after the other in every
    round, so that a busy moment of the machine hits all of them."""
    taken = {kind: [] for kind in models}
    for _ in range(rounds + 1):
        for kind, model in models.items():
            dist.barrier()
            before = time.perf_counter()
            model(ids).logits.square().mean().backward()
            taken[kind].append(time.perf_counter() - before)
            model.zero_grad()
    return {kind: 1000 * statistics.median(times[1:]) for kind, times in taken.items()}


def print_cases(found: dict) -> None:
    for name, rows in found.items():
        hidden, experts, k, *_ = CASES[name]
        print(f"\n{name}: hidden {hidden}, {experts} experts, k {k}; a rank's tokens, each round")
        print(f"{'':26s}{'ms':>9s}{'KiB sent':>11s}{'difference':>13s}")
        for kind, (milliseconds, kib, difference) in rows.items():
            print(f"{kind:26s}{milliseconds:9.2f}{kib:11.1f}{difference:13.1e}")


def print_cost(seconds: list[float]) -> None:
    link = fit_link(BYTES[::2], seconds[::2])
    others = BYTES[1::2]
    errors = relative_errors(link, others, seconds[1::2])
    microseconds, rate = 1e6 * link.alpha, link.bandwidth / 1e9
    print(f"\nan exchange here: {microseconds:.0f} µs + bytes / {rate:.2f} GB/s")
    print("sizes that took no part in the fit, predicted / measured - 1:")
    print(
        "".join(f"{n >> 10:>8d} KiB {error:+.2f}" for n, error in zip(others, errors, strict=True))
    )


def print_v3() -> None:
    """Hours are of all devices together, so that their number changes the days alone."""
    print("\nDeepSeek-V3, 14.8T tokens on H800: thousand device hours (published: 2,664)")
    heads = "experts on", "nodes of a token", "arithmetic", "between", "inside", "all overlapped"
    print("".join(f"{head:>17s}" for head in heads))
    sizes, tokens = published("DeepSeek-V3").sizes, 61_440
    for devices in (8, 64, 256):
        for limit in (4, None):
            how = dict(tokens=tokens, expert_devices=devices, bytes_out=1, bytes_back=2)
            cost = step_cost(sizes, H800, node_limit=limit, **how)
            parts = cost.arithmetic, cost.between, cost.inside, cost.overlapped
            hours = [device_hours(part, tokens, 14.8e12) / 1e3 if part else 0 for part in parts]
            row = "".join(f"{number:17,.0f}" for number in hours)
            print(f"{devices:17d}{f'at most {limit}' if limit else 'all':>17s}{row}")
    cost = step_cost(sizes, H800, tokens=tokens, expert_devices=64, node_limit=4, bytes_out=1)
    for name in ("overlapped", "one_after_the_other"):
        hours = device_hours(getattr(cost, name), tokens, 14.8e12)
        days = ", ".join(f"{n:,} {hours / n / 24:,.0f}" for n in (64, 256, 1024, 2048))
        print(f"days on that many devices, {name.replace('_', ' ')}: {days}")


def print_placements() -> None:
    """Loads of the course's trained model on a text of its own tokens."""
    model, _ = load_checkpoint("mini-v2")
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.config.vocab_size, (4, 64), generator=generator)
    ids = model.generate(ids[:, :1], 63) if model.config.causal else ids
    layer = trace_routing(model, ids).layers[-1]
    experts = layer.experts.flatten(0, 1)
    load, n = torch.bincount(experts.flatten(), minlength=layer.n_experts), layer.n_experts
    print(f"\nlast layer of mini-v2, {n} experts on 4 devices: busiest / mean, devices a token")
    copies, of = balanced_copies(load, n + 4, 4)
    places = {"in order": in_order(n, 4), "packed": pack(load, 4)}
    for name, place in places.items():
        a_token = devices_of_tokens(experts, place).sum(1).float().mean()
        print(f"{name:26s}{busiest_over_mean(device_loads(load, place)):9.2f}{a_token:9.2f}")
    print(f"{'packed, 4 copies more':26s}{busiest_over_mean(device_loads(load, copies, of)):9.2f}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.expert_parallel")
    parser.add_argument("--ranks", type=int, default=2, metavar="N")
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    given = parser.parse_args(arguments)
    fewest = min(CASES[name][1] for name in given.cases)
    if given.ranks < 2 or fewest % given.ranks:
        parser.error(f"--ranks: got {given.ranks}; wants a divisor of {fewest} experts, 2 or more")
    if given.rounds < 1:
        parser.error(f"--rounds: got {given.rounds}; wants at least 1")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.cases:
            torch.manual_seed(0)
            save_transformers(LanguageModel(config_of(name, given.ranks)), Path(folder) / name)
        how = dict(folder=folder, names=given.cases, rounds=given.rounds)
        done = launch("benchmarks.expert_parallel:measure", given.ranks, how, timeout=900)
    print(f"{given.ranks} processes on this machine, one thread each; figures of the first")
    print_cases(done[0].result["cases"])
    print_cost(done[0].result["exchanges"])
    print_v3()
    print_placements()


if __name__ == "__main__":
    main()
