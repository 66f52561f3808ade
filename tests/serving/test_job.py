"""What a job's reader gets: items in order, the end, errors, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sunfish.serving.job import Job, JobCanceled


def new_job(on_cancel: Callable[[Job[Any]], None] = lambda job: None) -> Job[int]:
    return Job(lambda pipeline: iter(()), on_cancel)


def fill(job: Job[int], error: BaseException | None = None) -> None:
    for item in range(3):
        job.put(item)
    job.finish(error)


def in_thread(target: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments)
    thread.start()
    return thread


def read_async(job: Job[int]) -> list[int]:
    async def read() -> list[int]:
        return [item async for item in job.events()]

    return asyncio.run(read())


@pytest.mark.parametrize("read", [list, read_async])
def test_items_come_in_order_before_and_after_they_are_asked_for(
    read: Callable[[Job[int]], list[int]],
) -> None:
    early = new_job()
    fill(early)
    assert read(early) == [0, 1, 2] and read(early) == [] and early.done
    late = new_job()
    thread = in_thread(fill, late)
    assert read(late) == [0, 1, 2]
    thread.join()


@pytest.mark.parametrize("use_asyncio", [False, True])
def test_an_error_comes_after_the_items(use_asyncio: bool) -> None:
    job, read = new_job(), []

    async def read_all() -> None:
        async for item in job.events():
            read.append(item)

    fill(job, ArithmeticError("wrong"))
    with pytest.raises(ArithmeticError, match="wrong"):
        if use_asyncio:
            asyncio.run(read_all())
        else:
            read.extend(iter(job))  # what came before the error is kept
    if use_asyncio:
        assert read == [0, 1, 2]


def test_a_reader_may_leave_and_another_one_go_on() -> None:
    job = new_job()
    fill(job)

    async def first() -> int:
        events = job.events()
        async for item in events:
            await events.aclose()  # type: ignore[attr-defined]
            return item
        raise AssertionError

    assert asyncio.run(first()) == 0
    assert list(job) == [1, 2]


def test_a_reader_whose_loop_is_gone_does_not_stop_the_job() -> None:
    job, loop = new_job(), asyncio.new_event_loop()
    events = job.events()
    waiting = loop.create_task(anext(events))  # type: ignore[arg-type, var-annotated]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    fill(job)
    assert list(job) == [0, 1, 2] and not waiting.done()


def test_listeners_hear_of_every_item_and_the_end() -> None:
    job, heard = new_job(), []
    job.add_listener(lambda: heard.append(job.done))
    fill(job)
    assert heard == [False, False, False, True]


def test_a_job_is_canceled_once_and_not_after_its_end() -> None:
    heard: list[Job[Any]] = []
    job = new_job(heard.append)
    job.check()
    job.cancel()
    job.cancel()
    assert heard == [job] and job.canceled
    with pytest.raises(JobCanceled):
        job.check()
    ended = new_job(heard.append)
    fill(ended)
    ended.cancel()
    assert heard == [job] and not ended.canceled
