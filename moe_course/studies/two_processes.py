"""What two processes do for chapter 17, in one launch of them: starting them is what takes long.

`run(folder)` starts them, and they leave in the folder

    NAME.safetensors   "weights" of a whole model after STEPS steps, for each of the WAYS
    gradients.safetensors   of some batches, put together rightly and wrongly
    found.json         bytes that travelled, and the seconds of exchanges
    state/             a training of which the second process was killed after step KILLED_AT

The model is a small masked encoder with experts. Rows of a masked batch have different numbers of
hidden tokens, which is what makes averaging hard.
"""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from moe_lib import LanguageModel, ModelConfig, train
from moe_lib.errors import require
from moe_lib.files import read_tensors, write_json, write_tensors
from moe_lib.parallel import Traffic, here, join, launch, shard_experts, whole_model
from moe_lib.parallel.launching import Finished
from moe_lib.parallel.measuring import measure_exchanges
from moe_lib.text import Batches, encode_corpus, load_corpus, load_tokenizer
from moe_lib.validation import Choice, Count, PathLike, Seed, checked

RANKS, STEPS, BATCH, LENGTH = 2, 4, 8, 64
BATCHES = 6  # of which the gradients are taken
KILLED_AT, KILLED_OF = 3, 6  # the second process is killed after this step of so many
SIZES = tuple(2**n for n in range(12, 24))  # bytes of the exchanges that are timed
WAYS: dict[str, dict] = {
    "rows on two": {},
    "rows and experts on two": {},
    "the same, balance over the batch": dict(seq_aux=False, aux_loss_alpha=0.05),
    "the same, selection bias": dict(router="biased_topk", bias_update_speed=0.01),
}
ROWS = "rows.safetensors"


@checked
def small_model(seed: Seed = 0, **changes) -> LanguageModel:
    """A masked encoder of two blocks with 8 experts, of which a token takes two. changes: fields
    of its ModelConfig."""
    torch.manual_seed(seed)
    sizes = dict(vocab_size=4096, hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
    experts = dict(n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=32)
    config = ModelConfig(**sizes, **experts, n_shared_experts=1, max_position_embeddings=LENGTH)
    return LanguageModel(config.replace(causal=False, **changes))


@checked
def masked_batches(folder: PathLike) -> Batches:
    """Batches of BATCH rows of the course's written notes, with hidden tokens."""
    path, tokenizer = Path(folder) / ROWS, load_tokenizer()
    if not path.is_file():
        notes = load_corpus("science_notes")["train"]
        write_tensors(path, {"rows": encode_corpus(notes, tokenizer, LENGTH).input_ids})
    rows = read_tensors(path)[0]["rows"]  # (rows, LENGTH)
    return Batches(rows, BATCH, seed=0, objective="masked", tokenizer=tokenizer)


@checked
def trained(way: Choice(*WAYS), batches: Batches, steps: Count = STEPS) -> LanguageModel:
    """The model of a way after some steps on all ranks there are; alone, in one process."""
    model = small_model(**WAYS[way])
    if "experts" in way or "same" in way:
        shard_experts(model)
    train(model, batches, steps=steps, progress=False)
    return model


def run(folder: PathLike) -> list[Finished]:
    """Start both processes and wait until they have ended: the second one by a signal."""
    folder = Path(folder)
    require(folder.is_dir(), "folder", str(folder), "a folder that is there")
    masked_batches(folder)  # written once, before both read it
    return launch(work, RANKS, {"folder": str(folder)}, timeout=240, may_fail=True)


def work(folder: str) -> None:
    """What each of the processes does, in this order."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # NCCL wants a GPU for each process; there may be one
    join(timeout=90)
    torch.set_num_threads(1)
    place, batches = Path(folder), masked_batches(folder)
    for way in WAYS:
        weights = flat(whole_model(trained(way, batches)))  # every rank takes part
        keep(place / f"{way}.safetensors", {"weights": weights})
    keep(place / "gradients.safetensors", gradients(batches))
    found = {"free": traffic(batches), "one device a token": traffic(batches, limited=True)}
    seconds = measure_exchanges(SIZES)
    if here().first:
        write_json(place / "found.json", {**found, "seconds": seconds})
    train_until_killed(place, batches)


def keep(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if here().first:
        write_tensors(path, dict(tensors))


def flat(model: nn.Module) -> Tensor:
    """All weights of a model in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def flat_gradient(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The gradient of the mean loss over a batch's hidden tokens, in one vector."""
    model.zero_grad()
    model(**batch).loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def gradients(batches: Batches) -> dict[str, Tensor]:
    """Of BATCHES batches, each (numbers of the model): every process has half of the rows, and the
    two means are put together by the numbers of hidden tokens ("weighted"), or halved ("plain")."""
    model, ranks = small_model(), here()
    both = {"weighted": [], "plain": []}
    for step in range(BATCHES):
        half = {name: rows.chunk(RANKS)[ranks.rank] for name, rows in batches.at(step).items()}
        own, hidden = flat_gradient(model, half), (half["labels"] != -100).sum().float()
        everywhere = hidden.clone()
        dist.all_reduce(everywhere)
        for kind, part in {"weighted": own * hidden / everywhere, "plain": own / RANKS}.items():
            dist.all_reduce(part)  # now the sum over both
            both[kind].append(part)
    return {kind: torch.stack(found) for kind, found in both.items()}


def traffic(batches: Batches, limited: bool = False) -> dict:
    """Bytes that this process sends, for the forward and backward pass of its half of a batch
    through one layer of experts, and the choices that they follow from."""
    group = dict(router="group_limited", n_group=RANKS, topk_group=1) if limited else {}
    model = shard_experts(small_model(num_hidden_layers=1, **group))
    half = {name: rows.chunk(RANKS)[here().rank] for name, rows in batches.at(0).items()}
    with Traffic() as counted:
        output = model(**half)
        output.loss.backward()
    sent = {what: sum(to) for what, to in counted.sent.items()}
    return {"sent": sent, "experts": output.routing[0].experts.tolist()}


def train_until_killed(folder: Path, batches: Batches) -> None:
    """A training that keeps its state every second step, and whose second process is killed."""

    def kill(report) -> None:
        if here().rank == 1 and report.row["step"] == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    how = dict(steps=KILLED_OF, folder=folder / "state", save_every=2, progress=False)
    train(shard_experts(small_model()), batches, **how, callback=kill)
