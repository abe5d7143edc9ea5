"""The processes that train one model together: who is here, and how they find each other."""

import atexit
import os
import socket
import sys
import time
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from moe_lib.errors import require
from moe_lib.validation import Positive, checked

FILE = "MOE_LIB_RANKS"  # a file through which the processes of `launch` find each other
LOOPBACK = "MOE_LIB_LOOPBACK"  # set: talk within this machine only
# Seconds that a rank waits for another one, by default. The first one writes files meanwhile.
WAIT = 300.0


class RankLost(RuntimeError):
    """Another rank is gone, silent, or has never come: this one cannot go on. One line says so."""


@dataclass(frozen=True)
class Ranks:
    """rank: number of this process, from 0. size: how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """The one that writes files and shows progress."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        return self.size > 1

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size}"


def here() -> Ranks:
    """This process among those that have joined; alone (0 of 1) where none have."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return Ranks()


def launched() -> bool:
    """Was this process started as one of several, by torchrun or by `launch`?"""
    return "RANK" in os.environ and _number("WORLD_SIZE", "1") > 1


@checked
def join(timeout: Positive = WAIT) -> Ranks:
    """Meet the other processes that torchrun or `launch` has started; alone where none were.

    timeout  seconds to wait for a rank, now and in every exchange later on

    gloo on CPUs, NCCL on GPUs, a GPU for each process of a machine. Joining twice is joining once;
    the process leaves at its end. RankLost names the ranks that did not come in time. An uncaught
    RankLost then ends the process with its one line.
    """
    if here().several or not launched():
        return here()
    rank, size = _number("RANK"), _number("WORLD_SIZE")
    require(0 <= rank < size, "RANK", rank, f"a number from 0 to {size - 1}")
    if os.environ.get(LOOPBACK):
        os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    sys.excepthook = _one_line
    limit = timedelta(seconds=timeout)
    store = _store(rank, size, limit)
    _roll_call(store, Ranks(rank, size), timeout)
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(_number("LOCAL_RANK", str(rank)) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    group = dist.PrefixStore("group", store)
    try:
        dist.init_process_group(backend, store=group, rank=rank, world_size=size, timeout=limit)
    except RuntimeError as error:
        raise RankLost(
            f"the ranks did not connect within {timeout:g} s: {first_line(error)}"
        ) from None
    atexit.register(leave)
    return here()


def leave() -> None:
    """Close the connections to the other ranks; nothing happens where there are none."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def notes() -> dist.Store | None:
    """Where ranks leave each other words: what stopped them, their process and machine."""
    if not here().several:
        return None
    return dist.PrefixStore("notes", dist.distributed_c10d._get_default_store())


def first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return text if len(text) <= 300 else text[:299] + "…"


def whoami() -> str:
    """Machine and process."""
    return f"{socket.gethostname()} {os.getpid()}"


def _number(name: str, default: str = "") -> int:
    """A variable of the environment, as torchrun sets them."""
    said = os.environ.get(name, default)
    require(said.isdigit(), name, said, "a whole number, as torchrun sets it")
    return int(said)


def _store(rank: int, size: int, limit: timedelta) -> dist.Store:
    if os.environ.get(FILE):
        store = dist.FileStore(os.environ[FILE], -1)
        store.set_timeout(limit)
        return store
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        require(name in os.environ, name, None, "set, as torchrun does")
    address, port = os.environ["MASTER_ADDR"], _number("MASTER_PORT")
    served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # by torchrun itself
    opens = rank == 0 and not served
    try:
        store = dist.TCPStore(address, port, size, opens, limit, wait_for_workers=False)
    except RuntimeError as error:
        said = f"rank 0 does not answer at {address}:{port} within {limit.total_seconds():g} s"
        raise RankLost(f"{said}: {first_line(error)}") from None
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"attempt {attempt}", store)


def _roll_call(store: dist.Store, ranks: Ranks, timeout: float) -> None:
    """Everybody says that they are here; RankLost with the numbers of those who do not."""
    store.set(f"here {ranks.rank}", whoami())
    end = time.monotonic() + timeout
    missing = list(range(ranks.size))
    while missing := [rank for rank in missing if not store.check([f"here {rank}"])]:
        if time.monotonic() > end:
            who = ", ".join(map(str, missing))
            what = f"rank {who}" if len(missing) == 1 else f"ranks {who}"
            raise RankLost(f"{what} of {ranks.size} did not come within {timeout:g} s")
        time.sleep(0.02)


def say(lost: RankLost) -> None:
    """Print the line of this rank, once."""
    if not getattr(lost, "said", False):
        name = f"rank {os.environ.get('RANK', '?')} of {os.environ.get('WORLD_SIZE', '?')}"
        print(f"{name}: {lost}", file=sys.stderr, flush=True)
        lost.said = True


def _one_line(kind, error, traceback) -> None:
    """How an error ends a process: RankLost with its line, all others as ever. The interpreter's
    own end would wait for exchanges that nobody answers any more, up to their time limit."""
    if issubclass(kind, RankLost):
        say(error)
        sys.stdout.flush()
        os._exit(1)
    sys.__excepthook__(kind, error, traceback)
