"""Compiled passes say what the passes themselves do, and one program serves every length of the cache."""

from __future__ import annotations

import functools
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.fx.experimental._config as shapes
from torch import Tensor
from torch._dynamo.utils import counters

from sunfish.config import GenerationConfig, TrainingConfig
from sunfish.config.presets import preset
from sunfish.model import compiled as compiled_passes
from sunfish.model.compiled import MAX_PROGRAMS, CompiledDenoiser, missing_compiler
from sunfish.model.denoiser import Denoiser
from sunfish.model.draft import Draft
from sunfish.model.kv_cache import KVCache
from sunfish.model.transformer import Transformer
from sunfish.rng import make_generator
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.loss import training_loss
from sunfish.training.trainer import Trainer
from sunfish.types import Condition, Start
from sunfish.utils import UsageError
from tests.conftest import Workplace
from tests.helpers import CONFIG, ONE_LAYER, batch, model, process_of

needs_compiler = pytest.mark.skipif(bool(missing_compiler()), reason=f"compiling needs {missing_compiler()}")
WIDTH = 4


def outputs(
    denoiser: Denoiser, condition: Condition, cache: KVCache | None, start: Start
) -> Iterator[Tensor]:
    """What every kind of pass says."""
    rows = len(condition.mask)
    ids = torch.randint(1, 20, (rows, WIDTH), generator=make_generator("ids"))
    masks, t = torch.full((rows, WIDTH), CONFIG.vocab_size), torch.ones(rows, WIDTH)
    yield denoiser.denoise(masks, t, condition, cache, start)
    logits, grown = denoiser.prefill(ids, condition, cache, start)
    yield from (logits, grown.keys_values)
    if not isinstance(start, Tensor):  # as block diffusion reads a finished block: after all of the cache
        logits, grown = denoiser.prefill(ids, condition, cache)
        yield from (logits, grown.keys_values)
    draft = denoiser.draft(masks, t, condition, cache, start)
    yield from said_by(draft, ids)
    masks, t = masks.repeat(1, WIDTH), t.repeat(1, WIDTH)
    logits, grown, draft_at = denoiser.prefill_and_draft(ids, masks, t, condition, cache, start)
    draft = draft_at(torch.tensor([2, 0])[:rows])
    yield from (logits, grown.keys_values, *said_by(draft, ids))


def said_by(draft: Draft, ids: Tensor) -> Iterator[Tensor]:
    """All kinds of logits of a draft of three places, given ``ids [B, 4]``."""
    assert draft.conditional_logits is not None
    yield draft.marginal_logits(len(ids))
    yield draft.conditional_logits(None)(ids[:, 1:])
    yield draft.conditional_logits(ids)(ids[:, 1:])


class Programs:
    """What ``torch.compile`` was given, and the calls of what it returned: the functions as they are."""

    def __init__(self) -> None:
        self.settings: list[dict[str, Any]] = []
        self.names: list[str] = []
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def compile(self, function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
        self.settings.append(settings)
        self.names.append(function.__name__)

        @functools.wraps(function)
        def program(*arguments: Any) -> Any:
            self.calls.append((function.__name__, arguments))
            return function(*arguments)

        return program


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Programs]:
    """Compiled passes without a compiler."""
    recorded = Programs()
    monkeypatch.setattr(torch, "compile", recorded.compile)
    monkeypatch.setattr(compiled_passes, "missing_compiler", lambda: "")
    before = shapes.use_duck_shape
    shapes.use_duck_shape = True
    yield recorded
    shapes.use_duck_shape = before


STARTS: list[tuple[int, Start]] = [
    (0, 0),
    (1, 1),
    (2, 2),
    (9, 9),
    (12, 12),
    (7, torch.tensor([7, 3])),
    (16, torch.tensor([2, 11])),
]


@pytest.mark.parametrize("cached,start", STARTS, ids=str)
@torch.inference_mode()
def test_every_pass_is_that_of_the_network(programs: Programs, cached: int, start: Start) -> None:
    """And all calls of one program have the same form: a start for each row, and a cache without holes."""
    network, texts = model(), batch(2)
    compiled = CompiledDenoiser(network)
    condition = network.encode(texts.prompt, texts.prompt_mask)
    _, whole = network.prefill(texts.x0, condition)
    cache = whole.trim(cached) if cached else None
    expected = list(outputs(network, condition, cache, start))
    actual = list(outputs(compiled, condition, cache, start))
    for output, exact in zip(actual, expected, strict=True):
        torch.testing.assert_close(output, exact)
    called = [name for name, _ in programs.calls]
    said = ["draft_logits"] * 3
    drafts = ["draft", *said, "causal_and_drafts_pass", "start_draft", *said]
    if cached < 2:  # a pass without a cache stays as it is, and so does one over a cache of a single token
        assert called == []
        return
    prefills = ["prefill"] * (1 if isinstance(start, Tensor) else 2)
    assert called == ["denoise", *prefills, *drafts]
    for name, arguments in programs.calls:
        if name not in ("start_draft", "draft_logits"):
            *_, passed, starts = arguments
            assert isinstance(passed, KVCache) and passed.keys_values.is_contiguous()
            assert isinstance(starts, Tensor) and starts.shape == (2,)
            assert not starts.is_floating_point()


def test_each_pass_is_one_program_for_all_sizes(programs: Programs) -> None:
    network = model()
    assert CompiledDenoiser(network).model is network
    assert sorted(programs.names) == sorted(
        ["denoise", "prefill", "draft", "causal_and_drafts_pass", "start_draft", "draft_logits"]
    )
    assert shapes.use_duck_shape is False  # sizes that are equal once need not stay equal
    for settings in programs.settings:
        assert settings == {
            "dynamic": True,
            "fullgraph": True,
            "options": {
                "guard_filter_fn": torch.compiler.skip_guard_on_all_nn_modules_unsafe,
                "cpp_wrapper": True,
            },
            "recompile_limit": MAX_PROGRAMS,
            "isolate_recompiles": True,
        }


def test_programs_of_a_gpu_are_not_wrapped_for_a_cpu(programs: Programs) -> None:
    with torch.device("meta"):
        CompiledDenoiser(Transformer(CONFIG))
    assert all("cpp_wrapper" not in settings["options"] for settings in programs.settings)


@torch.inference_mode()
def test_without_a_draft_head_a_draft_has_no_conditional_logits(programs: Programs) -> None:
    network, texts = model(config=replace(CONFIG, draft_head=False)), batch(2)
    compiled = CompiledDenoiser(network)
    condition = network.encode(texts.prompt, texts.prompt_mask)
    _, cache = network.prefill(texts.x0, condition)
    masks, t = torch.full((2, WIDTH), CONFIG.vocab_size), torch.ones(2, WIDTH)
    expected = network.denoise(masks, t, condition, cache, 16)[:, 1:]
    draft = compiled.draft(masks, t, condition, cache, 16)
    assert draft.conditional_logits is None
    torch.testing.assert_close(draft.marginal_logits(2), expected)
    _, _, draft_at = compiled.prefill_and_draft(texts.x0[:, :1], masks, t, condition, cache, 16)
    assert draft_at(torch.zeros(2, dtype=torch.long)).conditional_logits is None


@pytest.mark.slow
@torch.inference_mode()
def test_one_program_of_each_pass_serves_all_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which programs there are is decided before anything is made of them, so nothing is: that takes minutes."""
    monkeypatch.setattr(compiled_passes, "missing_compiler", lambda: "")
    traced = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", lambda *words, options, **settings: traced(*words, **settings))
    network, texts = model(torch.float32, ONE_LAYER), batch(2)
    compiled = CompiledDenoiser(network)
    condition = network.encode(texts.prompt, texts.prompt_mask)
    _, whole = network.prefill(texts.x0, condition)
    # Without a cache; rows of one length, of several, a cache longer than what a row may see.
    starts: list[tuple[int, Start]] = [
        (0, 0),
        (9, 9),
        (12, 12),
        (7, torch.tensor([7, 3])),
        (5, 5),
        (16, torch.tensor([2, 11])),
    ]
    programs: list[int] = []
    for cached, start in starts:
        cache = whole.trim(cached) if cached else None
        expected = list(outputs(network, condition, cache, start))
        actual = list(outputs(compiled, condition, cache, start))
        for output, exact in zip(actual, expected, strict=True):
            torch.testing.assert_close(output, exact, atol=2e-5, rtol=1e-4)
        programs.append(counters["stats"]["unique_graphs"])
    assert programs[0] < programs[1]  # something is compiled
    assert len(set(programs[1:])) == 1


@pytest.mark.slow
@needs_compiler
def test_a_compiled_checkpoint_generates_the_same_texts(trained: Workplace) -> None:
    config = GenerationConfig(block_length=4, guidance_scale=1.0)
    texts = [
        Pipeline.from_checkpoint(trained.checkpoint, compile=compile).generate(
            ["Write about dogs"], config, seed=3, seq_len=24
        )
        for compile in (False, True)
    ]
    assert texts[0] == texts[1] and texts[0][0].tokens > 8


def test_without_a_compiler_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> str:
        with pytest.raises(UsageError) as error:
            CompiledDenoiser(model())
        return str(error.value)

    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr(sysconfig, "get_path", {"include": str(tmp_path)}.__getitem__)
    assert refused() == (
        f"compile needs Python's header files, but {tmp_path} has none; install them "
        "(Debian and Ubuntu: apt install python3-dev), or leave compile out"
    )
    (tmp_path / "Python.h").touch()
    assert missing_compiler() == ""
    compiler = str(tmp_path / "no-compiler")
    monkeypatch.setenv("CXX", compiler)
    lacking = (
        f"compile needs a C++ compiler, but {compiler} is not installed here; install it (on Debian and "
        "Ubuntu: apt install g++), name another one in CXX, or leave compile out"
    )
    assert refused() == lacking
    with pytest.raises(UsageError, match=r"compile needs a C\+\+ compiler"):
        Trainer(
            preset(
                "nano", compile=True, device="cpu", precision="float32", threads=1, data_folder=str(tmp_path)
            )
        )
    assert list(tmp_path.iterdir()) == [tmp_path / "Python.h"]  # nothing was prepared before that
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refused() == lacking.replace(compiler, "g++")


@pytest.mark.slow
@needs_compiler
def test_compiled_blocks_learn_the_same() -> None:
    """``--compile`` of a run: losses and gradients of the plain blocks, at both kinds of block length.

    The second length of a text makes a program for all lengths; only a third shows whether it is one.
    """
    plain, compiled = (model(torch.float32, ONE_LAYER).train() for _ in range(2))
    compiled.compile_blocks()
    for length, block_length in ((16, 16), (14, 3), (12, 3)):
        results = []
        for network in (plain, compiled):
            network.zero_grad()
            generator = make_generator("x")
            texts = batch(length=length)
            losses = training_loss(network, process_of(), texts, generator, block_length, TrainingConfig())
            losses.total.backward()
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            results.append([losses.total, *gradients])
        for expected, actual in zip(*results, strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)
