"""A text does not depend on what runs beside it, whatever the sampler, guidance, length, gaps and seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from sunfish.config import GenerationConfig
from sunfish.sampling import infilling
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.posterior import GapFiller
from tests.serving.conftest import NewEngine, pipeline_of

Work = Callable[[Pipeline], Iterator[Any]]


def stream(prompt: str, seed: int, seq_len: int = 16, **config: Any) -> Work:
    settings = GenerationConfig(**{"num_steps": 4, "block_length": 4, "temperature": 1.0, **config})
    return lambda p: p.stream(prompt, settings, seq_len=seq_len, seed=seed)


def infill(text: str, seed: int, **options: Any) -> Work:
    return lambda p: iter(p.infill(text, seed=seed, num_particles=4, **options))


VERIFIED: list[Work] = [
    stream("ab", 1, guidance_scale=0.0),
    stream("cab", 2, guidance_scale=1.0, seq_len=17),
    stream("", 3, guidance_scale=1.0, block_length=1),
    stream("abc", 4, guidance_scale=3.0, block_length=8),
    stream("d", 5, guidance_scale=3.0, negative_prompt="abc", lenience=0.5),
    stream("da", 6, guidance_scale=2.0, composed_prompts=(("ab", 0.5), ("c", 2.0))),
    stream("bad", 7, sampler="verified:1", guidance_scale=1.0),
    stream("bed", 8, sampler="verified:1", guidance_scale=2.0, block_length=3),
    stream("ab", 9, guidance_scale=3.0, seq_len=60, block_length=7),  # beyond the context, in windows
    lambda p: iter(p.generate(["ab", "abcd", ""], seed=10, seq_len=20)),
    lambda p: iter(p.generate(["ab", "bad"], seed=11, seq_len=12, best_of=2)),
]
DENOISED: list[Work] = [
    stream("ab", 21, sampler="ancestral", guidance_scale=1.0),
    stream("abc", 22, sampler="ancestral", guidance_scale=3.0, block_length=0, seq_len=15),
    stream("fed", 23, sampler="ancestral", guidance_scale=0.0, block_length=5, seq_len=9),
]
MASKED: list[Work] = [
    stream("ab", 31, sampler="leftmost", guidance_scale=1.0),
    stream("cab", 32, sampler="confidence", guidance_scale=3.0, negative_prompt="d", block_length=6),
    stream("e", 33, sampler="remask", guidance_scale=1.0, block_length=8),
    infill("ab[MASK:3]cd", 34),
    infill("ab[MASK]cd [MASK:2-3]e", 35, prompt="abc", config=GenerationConfig(guidance_scale=2.0)),
    infill("[MASK:2]ab[MASK:1]c", 36, config=GenerationConfig(sampler="leftmost", guidance_scale=1.0)),
    infill("bad [MASK]", 37, num_samples=2),
    lambda p: iter(p.rewrite("a bad bed", [(2, 5)], "ab", seed=38, n=2, num_particles=4)),
]


def check_texts(new_engine: NewEngine, pipeline: Pipeline, works: list[Work], **limits: int) -> float:
    """Each job yields what it would yield alone; returns how many rows shared a pass."""
    engine = new_engine(pipeline, start=False, **limits)
    jobs = [engine.submit(work) for work in works]
    engine.start()
    for job, work in zip(jobs, works, strict=True):
        together, alone = list(job), list(work(pipeline))
        assert len(together) == len(alone) > 0
        for actual, expected in zip(together, alone, strict=True):
            assert without_rounding(actual) == without_rounding(expected)
    return engine.stats().rows_per_pass


def without_rounding(item: Any) -> Any:
    """The item, its numbers to nine places."""
    return tuple(round(part, 9) if isinstance(part, float) else part for part in item)


@pytest.mark.slow
def test_jobs_of_every_kind_write_what_they_write_alone(new_engine: NewEngine, pipeline: Pipeline) -> None:
    works = [*VERIFIED, *DENOISED, *MASKED]
    assert check_texts(new_engine, pipeline, works, max_running=len(works)) > 3


@pytest.mark.slow
def test_fills_that_are_drawn_again(
    new_engine: NewEngine, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With eight times as many particles, wherever the canvas has a doubt; here it always has."""
    counts = list[int]()
    fill = GapFiller.fill

    def counted(self: GapFiller, *inputs: Any) -> Any:
        counts.append(self.num_particles)
        return fill(self, *inputs)

    monkeypatch.setattr(infilling, "DOUBTFUL", -1.0)
    monkeypatch.setattr(GapFiller, "fill", counted)
    works = [MASKED[3], MASKED[4], MASKED[6], MASKED[7], VERIFIED[1], VERIFIED[3], DENOISED[0]]
    check_texts(new_engine, pipeline, works)
    assert counts.count(32) == counts.count(4) >= 8


@pytest.mark.slow
def test_jobs_join_and_leave_while_others_run(new_engine: NewEngine, pipeline: Pipeline) -> None:
    works = [VERIFIED[0], *MASKED[:2], *VERIFIED[1:5], DENOISED[0]]
    check_texts(new_engine, pipeline, works, max_running=3)


@pytest.mark.parametrize("process", [pytest.param("mixed", marks=pytest.mark.slow), "gaussian"])
def test_processes_whose_noise_does_not_show(new_engine: NewEngine, process: str) -> None:
    other = {"gaussian": "ddpm"}.get(process, "ancestral")
    works = [
        *VERIFIED[:8:2],
        stream("ab", 41, sampler=other, guidance_scale=1.0),
        stream("abc", 42, sampler=other, guidance_scale=3.0, block_length=6),
        stream("fed", 43, sampler=other, guidance_scale=2.0, block_length=4, seq_len=11),
        infill("ab[MASK:3]cd", 44),
    ]
    assert check_texts(new_engine, pipeline_of(process), works, max_running=12) > 2


def test_distilled_guidance_has_a_scale_for_each_row(new_engine: NewEngine) -> None:
    works = [
        stream("ab", 51, guidance_scale=1.0),
        stream("abc", 52, guidance_scale=2.0),
        stream("abc", 52, guidance_scale=4.0),
        stream("cab", 53, sampler="leftmost", guidance_scale=3.0),
        stream("d", 54, guidance_scale=3.0, negative_prompt="abc"),
    ]
    check_texts(new_engine, pipeline_of(distilled=True), works)


def test_a_pass_in_bfloat16(new_engine: NewEngine) -> None:
    """Rounding may change these texts, so only that they come."""
    coarse = pipeline_of()
    coarse.model.to(torch.bfloat16)
    engine = new_engine(coarse)
    jobs = [engine.submit(work) for work in (VERIFIED[3], DENOISED[0], MASKED[3])]
    assert all(list(job) for job in jobs)
