"""Locks: one holder, who is named; released however the process ends; disks without locks are said to be so."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NoReturn

import pytest

from sunfish.disk.lock import exclusive_lock, shared_lock, unused

FORK = multiprocessing.get_context("fork")


def refuse(holder: str) -> NoReturn:
    raise RuntimeError(f"held by {holder}")


def hold(path: Path, held: Event) -> None:
    with exclusive_lock(path, refuse):
        held.set()
        time.sleep(60)


def test_the_second_learns_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive_lock(path, refuse):
        words = rf"held by process {os.getpid()} on .*, since 20\d\d-"
        with pytest.raises(RuntimeError, match=words), exclusive_lock(path, refuse):
            pytest.fail("two hold it")
        assert path.exists()
    assert not path.exists()
    with exclusive_lock(path, refuse):
        pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    """Even while a worker process of it lives on."""
    path, held = tmp_path / "lock", FORK.Event()
    holder = FORK.Process(target=hold, args=(path, held))
    holder.start()
    assert held.wait(20)
    with pytest.raises(RuntimeError, match=f"held by process {holder.pid} on"), exclusive_lock(path, refuse):
        pytest.fail("two hold it")
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert path.exists()
    with exclusive_lock(path, refuse):
        pass
    assert not path.exists()


def test_a_worker_process_does_not_hold_the_lock_of_its_parent(tmp_path: Path) -> None:
    path, stop = tmp_path / "lock", FORK.Event()
    lock = exclusive_lock(path, refuse)
    lock.__enter__()
    worker = FORK.Process(target=stop.wait, args=(20,))
    worker.start()
    lock.__exit__(None, None, None)
    try:
        with exclusive_lock(path, refuse):
            assert worker.is_alive()
    finally:
        stop.set()
        worker.join()


def test_who_may_wait_comes_in_turn(tmp_path: Path) -> None:
    path, inside, most = tmp_path / "lock", [], []

    def work() -> None:
        for _ in range(5):
            with exclusive_lock(path, str):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 15 and not path.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL])
def test_a_disk_without_locks_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive_lock(tmp_path / "lock", refuse):
        assert "has no locks; make sure that no other run writes there" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with shared_lock(tmp_path), unused(tmp_path) as free:
        assert free


def test_a_folder_in_use_is_not_unused(tmp_path: Path) -> None:
    with shared_lock(tmp_path), shared_lock(tmp_path), unused(tmp_path) as free:
        assert not free
    with unused(tmp_path) as free:
        assert free
