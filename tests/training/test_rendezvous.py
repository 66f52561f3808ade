"""Processes that are started again: they meet each other, whatever those before them have left behind."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
import torch.distributed as dist

from sunfish.training.rendezvous import INVITATION, agree_on_name, store_of_attempt

SOON = timedelta(seconds=20)


def meet(store: dist.Store, ranks: dict[int, float], size: int) -> list[str]:
    """The names that processes agree on, which come after some seconds each."""
    names: list[str] = []

    def come(rank: int, seconds: float) -> None:
        time.sleep(seconds)
        names.append(agree_on_name(store, rank, size, SOON))

    threads = [threading.Thread(target=come, args=(rank, seconds)) for rank, seconds in ranks.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return names


@pytest.mark.parametrize("order", [(0.0, 0.1, 0.1), (0.2, 0.0, 0.1)])
def test_each_attempt_has_a_name_of_its_own(order: tuple[float, ...]) -> None:
    store = dist.HashStore()
    first, second = (meet(store, dict(enumerate(order)), 3) for _ in range(2))
    assert len(first) == len(second) == 3 and len({*first}) == len({*second}) == 1
    assert first[0] != second[0]


@pytest.mark.parametrize("guests", [0, 1, 2])
def test_the_invitation_of_an_attempt_that_failed_misleads_nobody(guests: int) -> None:
    """Its main process died before all had come; the others come before the new main process."""
    store = dist.HashStore()
    store.set(INVITATION, "dead")
    store.add("dead/guests", guests)
    names = meet(store, {1: 0.0, 2: 0.1, 0: 0.3}, 3)
    assert len(names) == 3 and len({*names}) == 1 and names[0] != "dead"


class _StaleAnswers(dist.HashStore):
    """A store that says of what it once had that it has it: at worst, it was taken back a moment ago."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def check(self, keys: list[str]) -> bool:
        self.seen |= {key for key in keys if super(_StaleAnswers, self).check([key])}
        return self.seen.issuperset(keys)


def test_an_invitation_taken_back_while_a_guest_reads_it_is_not_waited_for() -> None:
    store = _StaleAnswers()
    store.set_timeout(timedelta(seconds=1))
    names = meet(store, {0: 0.0, 1: 0.0, 2: 0.05}, 3)
    assert len(names) == 3 and len({*names}) == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_who_does_not_come_is_not_waited_for_forever(rank: int) -> None:
    with pytest.raises(RuntimeError, match="timed out: 2 processes were to meet, but some have not come"):
        agree_on_name(dist.HashStore(), rank, 2, timedelta(seconds=0.2))


def test_a_process_alone_waits_for_nobody() -> None:
    assert agree_on_name(dist.HashStore(), 0, 1, SOON)


def test_the_store_of_torchrun_is_divided_by_attempts() -> None:
    """What one attempt has written, the next one does not see."""
    server = dist.TCPStore("127.0.0.1", 0, is_master=True)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.port)}
    assert store_of_attempt(place, 0, 1, SOON) is None
    torchrun = place | {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    first, second = (store_of_attempt(torchrun, 0, 1, SOON) for _ in range(2))
    assert first is not None and second is not None
    first.set("address", "of the dead")
    assert first.check(["address"]) and not second.check(["address"])
