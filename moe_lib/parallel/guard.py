"""When one rank stops, all stop: soon, and each says why in one line."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch.distributed as dist

from moe_lib.parallel.ranks import (
    RankLost,
    Ranks,
    first_line,
    here,
    launched,
    leave,
    notes,
    say,
    whoami,
)

# What gloo and NCCL say when the other side does not answer.
_WORDS = ("gloo", "nccl", "connection closed", "connection reset", "timed out", "broken pipe")
_LOOK = 3.0  # seconds to find out who is gone


@contextmanager
def guard(to_go_on: str = "") -> Iterator[None]:
    """Within the `with` block an error of one rank ends all of them.

    The rank that fails raises its own error. The others, whose exchange with it breaks off, raise
    RankLost, which names the rank and its error, or says that its process is gone. to_go_on: what
    stands behind it. SIGTERM, with which torchrun ends the others, is such a break, too. The group
    is left then: nothing more can be exchanged. Alone, errors pass as they are.
    """
    ranks, store = here(), notes()
    if store is None:
        yield
        return
    store.set(f"who {ranks.rank}", whoami())
    with _sigterm() as sigterm:
        try:
            yield
        except BaseException as error:
            sigterm(signal.SIG_IGN)  # until it has said why
            if not _is_broken_exchange(error):
                said = f"{type(error).__name__}: {first_line(error)}"
                _remember(store, f"rank {ranks.rank} stopped: {said}")
                leave()
                raise
            reason = _reason(store, ranks, error)
            _remember(store, reason)
            leave()  # which lets go of those that wait for this one
            lost = RankLost(reason + (f"; {to_go_on}" if to_go_on else ""))
            if launched():
                say(lost)
            raise lost from None


def _is_broken_exchange(error: BaseException) -> bool:
    if isinstance(error, RankLost | dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _WORDS)


@contextmanager
def _sigterm() -> Iterator[Callable]:
    """SIGTERM breaks off what this rank does, within the `with` block; gives a function that
    handles it in another way. Signals reach the main thread only: nothing happens elsewhere."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda handler: None
        return

    def stop(number, frame):
        raise RankLost("SIGTERM")

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield lambda handler: signal.signal(signal.SIGTERM, handler)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _remember(store: dist.Store, reason: str) -> None:
    """The first reason is the reason."""
    with suppress(RuntimeError):  # whoever keeps the notes may be the one that is gone
        store.compare_set("reason", "", reason)


def _reason(store: dist.Store, ranks: Ranks, error: BaseException) -> str:
    """What stopped the first rank that stopped."""
    others = [rank for rank in range(ranks.size) if rank != ranks.rank]
    try:
        store.set_timeout(timedelta(seconds=_LOOK))
        store.set(f"waits {ranks.rank}", "")
        end = time.monotonic() + _LOOK
        while time.monotonic() < end:
            if store.check(["reason"]):
                return store.get("reason").decode()
            gone = [rank for rank in others if _is_gone(store, rank)]
            if gone:
                return f"rank {gone[0]} of {ranks.size} is gone (its process has ended)"
            time.sleep(0.05)
        silent = [rank for rank in others if not store.check([f"waits {rank}"])]
    except RuntimeError:
        return "the process that keeps the ranks together is gone"
    if silent:
        return f"rank {silent[0]} of {ranks.size} does not answer ({first_line(error)})"
    return f"the connection between the ranks broke ({first_line(error)})"


def _is_gone(store: dist.Store, rank: int) -> bool:
    """Whether its process has ended, as far as one can see from this machine."""
    if not store.check([f"who {rank}"]):
        return False
    host, process = store.get(f"who {rank}").decode().rsplit(" ", 1)
    if host != socket.gethostname() or os.name == "nt":
        return False
    try:
        os.kill(int(process), 0)
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"  # ended, not yet collected
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's, or a system without /proc
        return False
