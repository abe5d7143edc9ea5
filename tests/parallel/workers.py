"""What the processes of a launch do in these tests: starting them is slow, so that one launch does
many things, each with results of its own."""

import os
import signal
import time
from pathlib import Path

import torch

from moe_lib import train
from moe_lib.parallel import (
    Traffic,
    here,
    join,
    load_distributed,
    recompute_activations,
    save_distributed,
    shard_experts,
    shard_rest,
    whole_model,
)
from moe_lib.parallel.measuring import measure_exchanges
from tests.training.small import RandomBatches, make_model, weights_of

LIMITED = dict(router="group_limited", n_group=2, topk_group=1)
OF_SIX = dict(n_routed_experts=6, moe_intermediate_size=6)


def compared(changes, batches, sharded, recomputed=False, spread=False, **options):
    """Weights, losses and MaxVio after a few steps on all ranks."""
    model = make_model(**changes)
    if sharded:
        shard_experts(model)
    if recomputed:
        recompute_activations(model)
    if spread:
        shard_rest(model)
    run = train(model, batches, **dict(steps=3, progress=False) | options)
    columns = ("loss", "balance_loss", "max_violation", "gradient_norm", "tokens")
    rows = {name: run.history[name].tolist() for name in columns}
    return {"weights": weights_of(whole_model(model)).tolist(), **rows}


def case_arguments(case):
    case = dict(case)
    batches = RandomBatches(rows=case.pop("rows", 8), masked=case.pop("masked", False))
    return dict(changes=case.pop("changes", {}), batches=batches, **case)


def everything(cases, folder, official):
    """All that two ranks do without one of them being lost."""
    join(timeout=60)
    done = {name: compared(**case_arguments(case)) for name, case in cases.items()}
    done["refusals"] = [refused(n_routed_experts=1, num_experts_per_tok=1), refused(**OF_THREE)]
    done["traffic"] = traffic()
    done["traffic, limited"] = traffic(**LIMITED)
    model = shard_rest(shard_experts(make_model(seed=3, **OF_SIX)))
    save_distributed(model, Path(folder) / "two")
    done["transformers"] = beside_transformers(official)
    done["interrupted"] = stops_together()
    done["exchanges"] = exchanges()
    done["listening"] = listening()
    return done


OF_THREE = dict(n_routed_experts=3, moe_intermediate_size=6)


def refused(**changes):
    try:
        shard_experts(make_model(**changes))
    except ValueError as error:
        return str(error)


def traffic(**changes):
    """Bytes of one forward and backward pass, and the choices that they follow from."""
    model = shard_experts(make_model(num_hidden_layers=1, **changes))
    ids = RandomBatches().at(here().rank)["input_ids"]
    with Traffic() as counted:
        output = model(ids, labels=ids)
        output.loss.backward()
    experts = output.routing[0].experts.tolist()
    return dict(sent=counted.sent, bytes=counted.bytes(), experts=experts)


def beside_transformers(folder):
    """Logits of our model and of transformers', both with their experts on two ranks."""
    from transformers import AutoModelForCausalLM
    from transformers.distributed import DistributedConfig

    from moe_lib.interop import from_transformers

    how = DistributedConfig(fsdp_size=2, ep_size=2, ep_implementation="all_to_all")
    theirs = AutoModelForCausalLM.from_pretrained(folder, distributed_config=how).eval()
    ours = shard_experts(from_transformers(folder)).eval()
    ids = RandomBatches().at(here().rank)["input_ids"]
    with torch.no_grad():
        both = [model(ids).logits for model in (theirs, ours)]
    shapes = [tuple(p.shape) for n, p in theirs.named_parameters() if "gate_up_proj" in n]
    local = [p for n, p in theirs.named_parameters() if "gate_up_proj" in n and "experts" in n][0]
    held = len(local.to_local() if hasattr(local, "to_local") else local)
    difference = float((both[0] - both[1]).abs().max())
    return dict(difference=difference, largest=float(both[1].abs().max()), held=held, all=shapes)


def stops_together():
    """One rank's callback asks to stop: both stop after the same step."""
    stop = lambda report: here().rank == 1 and report.row["step"] == 1  # noqa: E731
    run = train(make_model(), RandomBatches(), steps=5, progress=False, callback=stop)
    return [len(run.history), run.interrupted]


def exchanges():
    """Sizes in bytes, and seconds of an all-to-all of each."""
    sizes = [2**n for n in range(12, 23)]
    return [sizes, measure_exchanges(sizes)]


def listening():
    """Addresses at which this process waits for connections, as the kernel lists them."""
    own = {
        os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_there(fd)
    }
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().split("\n")[1:]:
            fields = line.split()
            if fields and fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                found.append(fields[1])
    return found


def _is_there(fd):
    return os.path.islink(f"/proc/self/fd/{fd}")


def opened(folder):
    """Weights of a distributed checkpoint, opened by as many ranks as there are."""
    join(timeout=60)
    model = shard_rest(shard_experts(make_model(seed=9, **OF_SIX)))
    load_distributed(model, Path(folder) / "two")
    return weights_of(whole_model(model)).tolist()


def killed(folder, steps, at=None, by=signal.SIGKILL, timeout=30):
    """A training of which rank 1 is killed after step `at`."""
    join(timeout=timeout)

    def kill(report):
        if here().rank == 1 and report.row["step"] == at:
            if by is None:
                raise KeyError("a callback of one rank\nwith a bug")
            os.kill(os.getpid(), by)

    model = shard_experts(make_model())
    how = dict(steps=steps, folder=folder, save_every=2, progress=False)
    train(model, RandomBatches(), **how, callback=kill)


def alone_in_vain(timeout):
    join(timeout=timeout)


def sleeps(seconds):
    time.sleep(seconds)
