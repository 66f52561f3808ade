"""What a pipeline does around the sampler: refusals, decoding, streams and batches, of states that are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.rng import RowGenerators
from sunfish.sampling.block_diffusion import Snapshot
from sunfish.sampling.generated import Generated
from sunfish.sampling.pipeline import Pipeline
from sunfish.tokenizers import TextTokenizer
from sunfish.types import Condition
from sunfish.utils import UsageError
from tests.helpers import CONFIG, END, model, process_of

LETTERS = ".abcdefghijkl"  # of ids; those from SIZE on, the mask among them, have no meaning
SIZE, MASK = len(LETTERS), CONFIG.vocab_size


def letters(ids: Sequence[int]) -> str:
    return "".join(LETTERS[i] for i in ids)


@pytest.fixture
def pipeline() -> Pipeline:
    """With a tokenizer of letters, in which a prompt is as many ids as it has letters."""
    tokenizer = SimpleNamespace(
        end=END, size=SIZE, decode=letters, encode_prompt=lambda text: [LETTERS.index(c) for c in text]
    )
    return Pipeline(model(), process_of(), cast(TextTokenizer, tokenizer))


REFUSED: dict[str, tuple[Callable[[Pipeline], object], str]] = {
    "precision": (
        lambda p: p.from_checkpoint("nowhere", precision="half"),
        "precision is 'half'; give one of: float32, bfloat16, int8",
    ),
    "int8 on a GPU": (
        lambda p: p.from_checkpoint("nowhere", "cuda:1", "int8"),
        "precision is int8, which is for a CPU, but device is cuda:1; give bfloat16",
    ),
    "no config": (
        lambda p: p.generate([""], cast(GenerationConfig, {})),
        "config is {}; give a GenerationConfig, or None for the checkpoint's own",
    ),
    "too short": (
        lambda p: p.generate([""], seq_len=1),
        "seq_len is 1, but a text has at least 2 positions, its start mark included",
    ),
    "too short a stream": (
        lambda p: next(p.stream(seq_len=0)),
        "seq_len is 0, but a text has at least 2 positions, its start mark included",
    ),
    "too long to compare": (
        lambda p: p.generate(["ab"], seq_len=CONFIG.context_length + 1, best_of=2),
        "seq_len is 25, but best_of compares whole texts, which may have at most 24 positions",
    ),
    "no prompt to compare by": (
        lambda p: p.generate(["ab", ""], best_of=2),
        "best_of is 2, but it compares how well texts fit a prompt; give one for each",
    ),
    "steps of none": (
        lambda p: p("ab", steps=3, sampler="verified"),
        "steps is 3, but sampler is verified, which has no denoising steps",
    ),
}


@pytest.mark.parametrize("call,message", REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_is_refused_in_one_line(
    pipeline: Pipeline, call: Callable[[Pipeline], object], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        call(pipeline)
    assert str(error.value) == message


def test_a_distilled_checkpoint_has_the_plausibility_that_it_learned(pipeline: Pipeline) -> None:
    distilled = Pipeline(model(guidance_conditioned=True), pipeline.process, pipeline.tokenizer)
    config = GenerationConfig(guidance_scale=2.0, plausibility=0.5)
    with pytest.raises(UsageError) as error:
        distilled.guided(["ab"], config)
    assert str(error.value) == (
        "plausibility is 0.5, but this checkpoint learned its guidance with "
        f"{GenerationConfig.plausibility}; for another use its teacher's checkpoint"
    )
    for scale in (0.0, 1.0):  # nothing is guided, so nothing was learned
        distilled.guided(["ab"], GenerationConfig(guidance_scale=scale, plausibility=0.5))


DECODED = {  # ids, and the text, whether it is finished, its tokens, its ids
    "open": ([1, 2], ("ab", False, 2, [1, 2])),
    "ended": ([1, 2, END, 3], ("ab", True, 2, [1, 2])),
    "empty": ([END], ("", True, 0, [])),
    "nothing": ([], ("", False, 0, [])),
    "masks": ([1, MASK, MASK, 2], ("a##b", False, 2, [1, MASK, MASK, 2])),
    "masks before the end": ([MASK, 2, END], ("#b", False, 1, [MASK, 2])),
    "masks after the end": ([1, END, MASK], ("a", True, 1, [1])),
    "the first id without meaning": ([SIZE - 1, SIZE], (LETTERS[-1] + "#", False, 1, [SIZE - 1, SIZE])),
}


@pytest.mark.parametrize("ids,expected", DECODED.values(), ids=list(DECODED))
def test_ids_are_decoded_up_to_the_end(
    pipeline: Pipeline, ids: list[int], expected: tuple[str, bool, int, list[int]]
) -> None:
    text, finished, tokens, kept = expected
    assert pipeline.decode(ids, "p", "#") == Generated(text, "p", finished, tokens, kept)
    assert pipeline.decode(ids, "p").text == text.replace("#", "")


class Scripted:
    """Stands for the sampler: the states that it is given, whatever is asked; and what was asked."""

    def __init__(self, states: list[tuple[int, list[int], bool]]) -> None:
        self.states = states
        self.asked: list[tuple[list[str], int, GenerationConfig, list[int]]] = []

    def __call__(
        self, prompts: Sequence[str], length: int, config: GenerationConfig, rng: RowGenerators
    ) -> list[Snapshot]:
        seeds = [generator.initial_seed() for generator in rng.generators]
        self.asked.append((list(prompts), length, config, seeds))
        rows = len(prompts)
        return [Snapshot(at, torch.tensor([ids]).repeat(rows, 1), done) for at, ids, done in self.states]


def seeds_of(seed: int, first: int, rows: int) -> list[int]:
    return [g.initial_seed() for g in RowGenerators.for_rows(seed, first, rows).generators]


STATES = [
    (0, [END], True),
    (1, [MASK, MASK], False),
    (1, [1, MASK], False),
    (1, [1, MASK], False),  # the same again
    (1, [1, 2], False),
    (1, [1, 2], True),
    (3, [MASK, MASK], False),
    (3, [3, END], False),
    (3, [3, END], True),
]


def test_a_stream_shows_what_is_final_and_the_state_after_it(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = Scripted(STATES)
    monkeypatch.setattr(pipeline, "_snapshots", scripted)
    shown = list(pipeline.stream("p", seed=6, seq_len=7))
    assert [text.text for text in shown] == ["", "▒▒", "a▒", "ab", "ab▒▒", "abc"]
    assert shown[-1] == Generated("abc", "p", True, 3, [1, 2, 3])
    assert {text.prompt for text in shown} == {"p"}
    assert [text.text for text in pipeline.stream("p", mask="_")][1:3] == ["__", "a_"]
    own = pipeline.generation_config
    assert scripted.asked == [
        (["p"], 7, own, seeds_of(6, 0, 1)),
        (["p"], CONFIG.context_length, own, seeds_of(0, 0, 1)),
    ]


def test_a_stream_of_vectors_shows_the_ids_that_they_are_nearest_to(monkeypatch: pytest.MonkeyPatch) -> None:
    network = model(process="gaussian")
    tokenizer = SimpleNamespace(end=END, size=CONFIG.vocab_size, decode=lambda ids: " ".join(map(str, ids)))
    pipeline = Pipeline(network, process_of("gaussian"), cast(TextTokenizer, tokenizer))
    ids = torch.tensor([[4, 7]])
    vectors = pipeline.process.corrupt(ids, torch.zeros(1, 2), RowGenerators.for_rows(0, 0, 1))
    states = [Snapshot(0, torch.tensor([[END]]), True), Snapshot(1, vectors, False)]
    monkeypatch.setattr(pipeline, "_snapshots", lambda *_: states)
    assert vectors.ndim == 3
    assert [text.text for text in pipeline.stream("")] == ["", "4 7"]


def test_texts_are_written_in_batches_each_from_its_own_seed(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted, config = Scripted(STATES), GenerationConfig(temperature=0.5)
    monkeypatch.setattr(pipeline, "_snapshots", scripted)
    texts = pipeline.generate(["p", "q", "r"], config, seed=3, seq_len=9, batch_size=2)
    assert texts == [Generated("abc", prompt, True, 3, [1, 2, 3]) for prompt in ("p", "q", "r")]
    assert scripted.asked == [
        (["p", "q"], 9, config, seeds_of(3, 0, 2)),
        (["r"], 9, config, seeds_of(3, 2, 1)),
    ]
    scripted.asked.clear()
    pipeline.generate(["p"] * 33)
    own, length = pipeline.generation_config, CONFIG.context_length
    assert [(len(prompts), *rest[:2]) for prompts, *rest in scripted.asked] == [
        (32, length, own),
        (1, length, own),
    ]
    assert [seed for *_, seeds in scripted.asked for seed in seeds] == seeds_of(0, 0, 33)


def test_prompts_are_padded_and_masked(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[tuple[Tensor, Tensor]] = []

    def encode(ids: Tensor, mask: Tensor) -> Any:
        encoded.append((ids, mask))
        return cast(Condition, None)

    monkeypatch.setattr(pipeline.model, "encode", encode)
    pipeline.encode(["abd", "", "e"])
    pipeline.encode([""])
    (ids, mask), (no_ids, no_mask) = encoded
    assert ids.tolist() == [[1, 2, 4], [0, 0, 0], [5, 0, 0]]
    assert mask.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert no_ids.tolist() == [[0]] and no_mask.tolist() == [[False]]
