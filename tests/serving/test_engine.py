"""The engine: places and queue, cancellation, errors, draining, the end, and that nothing is left of a job."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from sunfish.config import GenerationConfig
from sunfish.model.growing_cache import GrowingCache, Room
from sunfish.model.transformer import Transformer
from sunfish.sampling.pipeline import Pipeline
from sunfish.serving import scheduler
from sunfish.serving.engine import DrainingError, Engine, QueueFullError
from sunfish.serving.job import Job, JobCanceled
from sunfish.utils import UsageError
from tests.serving.conftest import NewEngine, pipeline_of

CONFIG = GenerationConfig(temperature=1.0, guidance_scale=2.0, block_length=4)


def text(seed: int, seq_len: int = 12) -> Callable[[Pipeline], Iterator[Any]]:
    return lambda p: iter(p.generate(["abc"], CONFIG, seed=seed, seq_len=seq_len))


def endless(pipeline: Pipeline) -> Iterator[int]:
    """Works as long as nobody cancels it; yields the number of its texts."""
    for number in range(10**9):
        pipeline.generate(["abc"], CONFIG, seed=number, seq_len=8)
        yield number


class Gate:
    """Work that yields once and then waits to be let through."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def __call__(self, pipeline: Pipeline) -> Iterator[str]:
        yield "waiting"
        assert self.open.wait(60)
        yield "through"


def started(job: Job[Any]) -> Job[Any]:
    """The job, once it has yielded something."""
    next(iter(job))
    return job


# Places and queue.


def test_jobs_wait_for_a_place_in_the_order_in_which_they_came(new_engine: NewEngine) -> None:
    engine, gate, order = new_engine(max_running=1), Gate(), list[int]()

    def note(number: int) -> Callable[[Pipeline], Iterator[int]]:
        def work(pipeline: Pipeline) -> Iterator[int]:
            order.append(number)
            yield number

        return work

    started(engine.submit(gate))
    jobs = [engine.submit(note(number)) for number in range(5)]
    assert engine.stats()[:2] == (1, 5) and order == []
    gate.open.set()
    assert [list(job) for job in jobs] == [[0], [1], [2], [3], [4]] and order == [0, 1, 2, 3, 4]


def test_a_full_queue_takes_no_more(new_engine: NewEngine) -> None:
    engine, gate = new_engine(max_running=2, max_waiting=1), Gate()
    jobs = [started(engine.submit(gate)) for _ in range(2)]
    jobs.append(engine.submit(gate))
    with pytest.raises(QueueFullError, match="1 jobs are waiting") as refused:
        engine.submit(gate)
    assert refused.value.retry_after >= 1
    gate.open.set()
    assert [list(job)[-1] for job in jobs] == ["through"] * 3
    assert list(engine.submit(text(1)))


def test_before_the_start_there_is_room_for_all_that_will_run_and_wait(new_engine: NewEngine) -> None:
    engine = new_engine(start=False, max_running=2, max_waiting=1)
    jobs = [engine.submit(text(seed)) for seed in range(3)]
    with pytest.raises(QueueFullError):
        engine.submit(text(3))
    engine.start()
    assert all(list(job) for job in jobs)


@pytest.mark.parametrize("limits", [{"max_running": 0}, {"max_waiting": -1}, {"max_running": 1.5}])
def test_limits_out_of_range_are_refused(pipeline: Pipeline, limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(limits))):
        Engine(pipeline, **limits)


def test_a_compiled_pipeline_is_refused(pipeline: Pipeline) -> None:
    compiled = Pipeline(pipeline.model, pipeline.process, pipeline.tokenizer)
    compiled.denoiser = pipeline_of().model  # what stands between the pipeline and its network
    with pytest.raises(UsageError, match="compile is on"):
        Engine(compiled)


def test_the_pipeline_stays_as_it_is(new_engine: NewEngine, pipeline: Pipeline) -> None:
    seen = list(new_engine().submit(lambda p: iter([p, p.denoiser])))
    assert seen[0] is not pipeline and seen[1] is not pipeline.denoiser
    assert pipeline.denoiser is pipeline.model


# Cancellation.


def test_a_waiting_job_is_canceled_at_once(new_engine: NewEngine) -> None:
    engine, gate = new_engine(max_running=1, max_waiting=1), Gate()
    running = started(engine.submit(gate))
    waiting = engine.submit(text(1))
    waiting.cancel()
    with pytest.raises(JobCanceled):
        list(waiting)
    assert engine.stats()[:5] == (1, 0, 0, 0, 1)
    other = engine.submit(text(1))
    gate.open.set()
    assert list(running) and list(other)


def test_a_running_job_is_canceled_at_its_next_pass(new_engine: NewEngine) -> None:
    engine = new_engine(max_running=1)
    unwound = threading.Event()

    def work(pipeline: Pipeline) -> Iterator[int]:
        try:
            yield from endless(pipeline)
        finally:
            unwound.set()

    job = started(engine.submit(work))
    job.cancel()
    with pytest.raises(JobCanceled):
        list(job)
    assert unwound.is_set() and job.done
    assert list(engine.submit(text(1))), "its place is free"
    assert engine.stats().canceled == 1


def test_work_without_passes_is_canceled_at_its_next_item(new_engine: NewEngine) -> None:
    engine, unwound = new_engine(max_running=1), threading.Event()

    def work(pipeline: Pipeline) -> Iterator[int]:
        try:
            yield from iter(int, 1)  # zeros without end
        finally:
            unwound.set()

    job = started(engine.submit(work))
    job.cancel()
    with pytest.raises(JobCanceled):
        list(job)
    assert unwound.is_set()


def test_a_canceled_job_does_not_change_the_others(new_engine: NewEngine, pipeline: Pipeline) -> None:
    engine = new_engine()
    left, stays = started(engine.submit(endless)), engine.submit(text(5))
    left.cancel()
    assert list(stays) == list(text(5)(pipeline))


# Errors.


def test_an_error_reaches_only_the_job_that_made_it(new_engine: NewEngine, pipeline: Pipeline) -> None:
    engine = new_engine(start=False)
    right = engine.submit(text(1))
    wrong = engine.submit(lambda p: p.stream("abc", seq_len=1))
    raising = engine.submit(lambda p: iter([1 // 0]))
    engine.start()
    with pytest.raises(UsageError, match="seq_len is 1"):
        list(wrong)
    with pytest.raises(ZeroDivisionError):
        list(raising)
    assert list(right) == list(text(1)(pipeline))
    assert engine.stats()[2:5] == (1, 2, 0)


def test_an_error_of_cleaning_up_is_one_of_the_job(new_engine: NewEngine, pipeline: Pipeline) -> None:
    """Its thread runs the next job."""
    engine = new_engine(max_running=1)

    def work(pipeline: Pipeline) -> Iterator[int]:
        try:
            yield from endless(pipeline)
        finally:
            raise ArithmeticError("while it was closed")

    job = started(engine.submit(work))
    job.cancel()
    with pytest.raises(ArithmeticError, match="while it was closed"):
        list(job)
    assert list(engine.submit(text(1))) == list(text(1)(pipeline))


def test_nan_reaches_only_the_texts_that_have_it(new_engine: NewEngine) -> None:
    """One prompt's embedding is NaN: no other text sees that, though they share passes."""
    faulty = pipeline_of()
    letter = faulty.tokenizer.encode("w")[0]
    encode = faulty.model.encode

    def encode_nan(prompt: torch.Tensor, mask: torch.Tensor) -> Any:
        condition = encode(prompt, mask)
        rows = (prompt == letter).any(1)
        condition.values[:, rows] = torch.nan
        return condition

    expected = [list(text(seed)(faulty)) for seed in range(3)]
    faulty.model.encode = encode_nan  # type: ignore[method-assign]
    engine = new_engine(faulty, start=False)
    right, wrong = [], []
    for seed in range(3):  # so many that some meet in a pass, however slowly their threads start
        wrong.append(engine.submit(lambda p: iter(p.generate(["w"], CONFIG))))
        right.append(engine.submit(text(seed)))
        wrong.append(engine.submit(lambda p: iter(p.generate(["w"], CONFIG))))
    engine.start()
    for job in wrong:
        with pytest.raises(ValueError, match="the network returned NaN"):
            list(job)
    assert [list(job) for job in right] == expected and engine.stats().rows_per_pass > 2


def test_a_pass_that_fails_ends_its_jobs_and_not_the_engine(
    new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline
) -> None:
    engine = new_engine(start=False)
    jobs = [engine.submit(text(seed)) for seed in range(2)]
    head, broken = Transformer.head, [True]

    def failing(self: Transformer, hidden: torch.Tensor) -> torch.Tensor:
        if broken[0]:
            raise RuntimeError("not enough memory: you tried to allocate too much")
        return head(self, hidden)

    monkeypatch.setattr(Transformer, "head", failing)
    engine.start()
    for job in jobs:
        with pytest.raises(RuntimeError, match="not enough memory"):
            list(job)
    broken[0] = False
    assert list(engine.submit(text(1))) == list(text(1)(pipeline))


def test_a_text_that_does_not_fit_is_refused_before_it_shares_a_pass(new_engine: NewEngine) -> None:
    engine = new_engine()
    ids = torch.ones(1, 40, dtype=torch.long)
    wrong = engine.submit(lambda p: iter([p.log_likelihood(ids, p.encode(["ab"]))]))
    with pytest.raises(ValueError, match="39 positions"):
        list(wrong)
    assert engine.stats().passes == 0


# The end.


def test_draining_ends_what_was_accepted_and_takes_no_more(new_engine: NewEngine) -> None:
    engine, gate = new_engine(max_running=1), Gate()
    jobs = [started(engine.submit(gate)), engine.submit(text(1))]
    assert not engine.drain(0.01)
    with pytest.raises(DrainingError):
        engine.submit(text(2))
    gate.open.set()
    assert engine.drain(60)
    assert engine.stats()[:3] == (0, 0, 2) and all(job.done for job in jobs)


def test_closing_cancels_what_is_left_and_ends_the_threads(pipeline: Pipeline) -> None:
    before = threading.active_count()
    engine = Engine(pipeline, max_running=2)
    engine.start()
    jobs = [engine.submit(endless) for _ in range(3)]
    started(jobs[0])
    engine.close()
    for job in jobs:
        with pytest.raises(JobCanceled):
            list(job)
    assert threading.active_count() == before
    with pytest.raises(DrainingError):
        engine.submit(text(1))
    with pytest.raises(RuntimeError, match="started before"):
        engine.start()
    engine.close()


def test_an_engine_that_never_started_can_be_closed(pipeline: Pipeline) -> None:
    engine = Engine(pipeline)
    job = engine.submit(text(1))
    engine.close()
    with pytest.raises(JobCanceled):
        list(job)


@pytest.mark.slow
def test_nothing_is_left_of_many_jobs(new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of jobs that end, fail and are canceled: no thread, no cache, no job."""
    rooms, jobs = weakref.WeakSet[Room](), weakref.WeakSet[Job[Any]]()
    make_room, made = Room.__init__, [0]

    def noting(self: Room, data: torch.Tensor, filled: int) -> None:
        make_room(self, data, filled)
        rooms.add(self)
        made[0] += 1

    monkeypatch.setattr(Room, "__init__", noting)
    engine = new_engine(max_running=4, max_waiting=400)
    list(engine.submit(text(0)))
    threads = threading.active_count()

    def submit(number: int) -> Job[Any]:
        if number % 10 == 3:
            return engine.submit(lambda p: iter(p.generate(["abc"], CONFIG, seq_len=1)))
        return engine.submit(text(number, seq_len=6 + number % 7))

    for _ in range(3):
        batch = [submit(number) for number in range(100)]
        for job in batch[5::10]:
            job.cancel()
        ended = 0
        for job in batch:
            jobs.add(job)
            try:
                ended += len(list(job))
            except (UsageError, JobCanceled):
                ended += 1
        assert ended == 100
        del batch, job
    list(engine.submit(text(0)))
    gc.collect()
    assert threading.active_count() == threads and made[0] > 100 and not rooms and not jobs


def test_an_error_keeps_nothing_of_the_work(new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reader may keep the job for long; the text's cache is gone with the work."""
    settled = weakref.WeakSet[Room]()
    settle = GrowingCache.settle

    def noting(self: GrowingCache, spare: int) -> Room:
        settled.add(room := settle(self, spare))
        return room

    def work(pipeline: Pipeline) -> Iterator[Any]:
        for seed in range(100):
            states = pipeline.stream("abc", CONFIG, seed=seed)
            for state in states:
                if settled:
                    raise ArithmeticError("after a pass with a cache")
                yield state

    monkeypatch.setattr(GrowingCache, "settle", noting)
    engine = new_engine()
    job = engine.submit(work)
    with pytest.raises(ArithmeticError):
        list(job)
    assert job.done and not settled


def test_a_job_that_ends_gives_its_turn_away(new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "PATIENCE", 20.0)  # so long would the others wait
    engine = new_engine(max_running=2)
    for seed in range(4):
        engine.submit(text(seed))
    assert engine.drain(15)


def test_only_passes_use_several_threads(new_engine: NewEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.get_num_threads(), list[int]()
    embed = Transformer.embed

    def noting(self: Transformer, *inputs: Any) -> Any:
        seen.append(torch.get_num_threads())
        return embed(self, *inputs)

    monkeypatch.setattr(Transformer, "embed", noting)
    try:
        torch.set_num_threads(2)
        engine = new_engine(max_running=3)
        jobs = [engine.submit(lambda p: iter([torch.get_num_threads()])) for _ in range(5)]
        assert [list(job) for job in jobs] == [[1]] * 5
        assert list(engine.submit(text(1, seq_len=4))) and set(seen) == {2}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
