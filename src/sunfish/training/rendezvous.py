"""Where the processes of a run exchange addresses, when ``torchrun`` has started all of them again after a failure.

The store of ``torchrun`` outlives its processes (pytorch/pytorch#135712), so it still has the addresses of dead ones.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

POLL_SECONDS = 0.05
INVITATION = "sunfish/invitation"


def store_of_attempt(
    environment: Mapping[str, str], rank: int, size: int, timeout: timedelta
) -> Store | None:
    """The part of ``torchrun``'s store that only the processes of this attempt use; None without ``torchrun``.

    Args:
        environment: What ``torchrun`` says.
        rank: This process.
        size: How many there are.
        timeout: How long to wait for the others.
    """
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    import torch.distributed as dist

    address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, timeout=timeout)  # type: ignore[attr-defined]
    name = agree_on_name(store, rank, size, timeout)
    return dist.PrefixStore(name, store)  # type: ignore[attr-defined]


def agree_on_name(store: Store, rank: int, size: int, timeout: timedelta) -> str:
    """A name that all processes of an attempt have, and no earlier attempt.

    The main process invites by a random name, and takes the invitation back when all have come. One of an attempt that
    failed before that is still there: who has accepted it sees the next one.

    Raises:
        RuntimeError: Not all have come in time.
    """
    end, accepted, name = time.monotonic() + timeout.total_seconds(), "", secrets.token_hex(8)
    if rank == 0:
        store.set(INVITATION, name)
    while time.monotonic() < end:
        if rank == 0 and store.add(f"{name}/guests", 0) == size - 1:
            store.set(INVITATION, "")  # not deleted: who has just seen it would wait for it
            store.set(f"{name}/complete", "")
            return name
        if rank and store.check([INVITATION]):
            invited = store.get(INVITATION).decode()
            if invited not in {"", accepted}:
                accepted = invited
                store.add(f"{accepted}/guests", 1)
        if rank and accepted and store.check([f"{accepted}/complete"]):
            return accepted
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"timed out: {size} processes were to meet, but some have not come")
