"""Which requests are answered together and in which order, and that a job has its turn alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import pytest

from sunfish.serving.job import Job, JobCanceled
from sunfish.serving.scheduler import PASS_POSITIONS, PATIENCE, Request, Scheduler, choose


def a_job() -> Job[Any]:
    return Job(lambda pipeline: iter(()), lambda job: None)


def a_pass(key: Hashable, rows: int = 1, width: int = 8) -> Request:
    return Request(a_job(), key, rows, width, is_pass=True)


def small(key: Hashable) -> Request:
    return Request(a_job(), key, 1)


def test_those_of_one_kind_are_answered_together() -> None:
    first, other, second = a_pass("canvas"), a_pass("text"), a_pass("canvas")
    assert choose([first, other, second]) == [first, second]


def test_small_requests_come_before_passes() -> None:
    draft, refine, started, again = a_pass("canvas"), small("refine"), small("start"), small("refine")
    assert choose([draft, refine, started, again]) == [refine, again]
    assert draft.passed_over == 0


def test_the_largest_pass_comes_first_but_nobody_is_passed_over_twice() -> None:
    few, many = a_pass("text"), [a_pass("canvas"), a_pass("canvas")]
    assert choose([few, *many]) == many and few.passed_over == 1
    more = [a_pass("canvas") for _ in range(5)]
    assert choose([*more, few]) == [few]


def test_whoever_was_passed_over_takes_those_along_that_are_padded_to_it() -> None:
    few, many = a_pass("text", width=9), [a_pass("canvas"), a_pass("canvas")]
    assert choose([few, *many]) == many
    narrow, more = a_pass("text", width=8), [a_pass("canvas") for _ in range(5)]
    assert set(choose([*more, narrow, few])) == {narrow, few}


def test_narrow_texts_are_padded_only_as_long_as_that_is_cheap() -> None:
    one_by_one, draft = [a_pass("text", width=1) for _ in range(4)], a_pass("text", width=8)
    assert set(choose([*one_by_one, draft])) == {*one_by_one, draft}
    many = [a_pass("text", rows=PASS_POSITIONS, width=1), a_pass("text", rows=2, width=1)]
    assert set(choose([draft, *many])) == set(many)
    assert set(choose([draft])) == {draft}


# With a network that tells each request how many shared its answer.


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    with_network = Scheduler(lambda requests: [len(requests)] * len(requests))
    thread = threading.Thread(target=with_network.run)
    thread.start()
    yield with_network
    with_network.close()
    thread.join(10)
    assert not thread.is_alive()


def run_jobs(scheduler: Scheduler, *works: Callable[[Job[Any]], None]) -> None:
    """Run each work in a thread, as a job."""

    def run(work: Callable[[Job[Any]], None]) -> None:
        job = a_job()
        work(job)
        scheduler.end_turn(job)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_jobs_have_their_turns_one_at_a_time_and_share_passes(scheduler: Scheduler) -> None:
    awake, shared = [0], list[int]()

    def work(job: Job[Any]) -> None:
        scheduler.ask(Request(job, None))
        for _ in range(20):
            awake[0] += 1
            assert awake[0] == 1, "another job runs at the same time"
            time.sleep(0)
            awake[0] -= 1
            shared.append(scheduler.ask(Request(job, "pass", 1, 8, is_pass=True)))

    run_jobs(scheduler, *[work] * 5)
    assert len(shared) == 100 and sum(shared) / len(shared) > 2, shared


def test_the_others_do_not_wait_long_for_one_that_computes(scheduler: Scheduler) -> None:
    others_done = threading.Event()

    def slow(job: Job[Any]) -> None:
        scheduler.ask(Request(job, None))
        assert others_done.wait(60), "the others waited for this job"
        assert scheduler.ask(Request(job, "pass", 1, 8, is_pass=True)) == 1

    def quick(job: Job[Any]) -> None:
        for _ in range(3):
            scheduler.ask(Request(job, "pass", 1, 8, is_pass=True))
        others_done.set()

    assert PATIENCE < 1
    run_jobs(scheduler, slow, quick)


@pytest.mark.parametrize("is_short", [False, True], ids=["raises", "leaves one out"])
def test_where_all_fail_together_each_is_tried_alone(is_short: bool) -> None:
    wrong, right = small("key"), small("key")

    def answer(requests: Sequence[Request]) -> list[str]:
        if wrong in requests and not is_short:
            raise ArithmeticError("no answer")
        return ["answer" for request in requests if request is not wrong]

    with_fault = Scheduler(answer)
    thread = threading.Thread(target=with_fault.run)
    told: dict[Request, Any] = {}

    def ask(request: Request) -> None:
        try:
            told[request] = with_fault.ask(request)
        except (ArithmeticError, ValueError):
            told[request] = None

    askers = [threading.Thread(target=ask, args=(request,)) for request in (wrong, right)]
    for asker in askers:
        asker.start()
    thread.start()
    for asker in askers:
        asker.join(10)
    with_fault.close()
    thread.join(10)
    assert told == {wrong: None, right: "answer"}


def test_a_canceled_job_gets_no_answer(scheduler: Scheduler) -> None:
    job = a_job()
    job.cancel()
    with pytest.raises(JobCanceled):
        scheduler.ask(Request(job, "pass", is_pass=True))


def test_a_job_that_waits_for_an_answer_is_woken_to_be_canceled() -> None:
    idle = Scheduler(lambda requests: [None] * len(requests))  # nobody runs it
    job, woken = a_job(), list[type[BaseException]]()

    def ask() -> None:
        try:
            idle.ask(Request(job, "pass", is_pass=True))
        except JobCanceled as error:
            woken.append(type(error))

    thread = threading.Thread(target=ask)
    thread.start()
    while not idle._pending:
        time.sleep(0.001)
    job.cancel()
    idle.withdraw(job)
    thread.join(10)
    assert woken == [JobCanceled]
