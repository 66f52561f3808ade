"""Every argument of the pipeline and of infilling: what it changes, against a second way to the same text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import sunfish.sampling.text_generator as pipeline_module
from sunfish.config import GenerationConfig
from sunfish.model.kernels.int8 import Int8Linear
from sunfish.rng import RowGenerators
from sunfish.sampling.editing import rewrite
from sunfish.sampling.generated import Generated
from sunfish.sampling.generation_config import write_generation_config
from sunfish.sampling.guidance import ClassifierFreeGuidance
from sunfish.sampling.infilling import infill
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.text_generator import TextGenerator
from sunfish.tokenizers import build_tokenizer
from sunfish.training.trainer import Trainer
from sunfish.utils import UsageError
from tests.helpers import CONFIG, model, process_of
from tests.settings.table import covers, spy

Patch = pytest.MonkeyPatch
Make = Callable[..., Trainer]
WARM = GenerationConfig(temperature=3.0, guidance_scale=2.0, plausibility=0.0)
STEPPED = replace(WARM, sampler="leftmost", num_steps=4, block_length=4)


def parts(letters: str = "abcdefghijklmnop") -> tuple[Any, ...]:
    """A network, its process, and an alphabet."""
    return model(), process_of(), build_tokenizer("characters", 23, [letters])


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline(*parts())


@covers(TextGenerator.generate, "prompts", "config", "seq_len", "seed", "batch_size")
@pytest.mark.parametrize("config", [WARM, STEPPED], ids=["verified", "leftmost"])
def test_texts_of_a_call(pipeline: Pipeline, monkeypatch: Patch, config: GenerationConfig) -> None:
    prompts = ["cab", "", "cab"]
    texts = pipeline.generate(prompts, config, seq_len=14, seed=3)
    assert [text.prompt for text in texts] == prompts
    assert len({text.text for text in texts}) == 3  # each row has random numbers of its own
    batches = spy(monkeypatch, Pipeline, "_snapshots")
    assert pipeline.generate(iter(prompts), config, seq_len=14, seed=3, batch_size=2) == texts
    assert [call["prompts"] for call in batches] == [["cab", ""], ["cab"]]
    assert [len(call["rng"].generators) for call in batches] == [2, 1]
    for number, text in enumerate(texts):  # each by itself, with the generator of its number
        monkeypatch.setattr(RowGenerators, "for_rows", staticmethod(_numbered(number)))
        assert pipeline.generate(prompts[number : number + 1], config, seq_len=14, seed=3) == [text]
        monkeypatch.undo()
    assert pipeline.generate(prompts, config, seq_len=14, seed=4) != texts
    other = pipeline.generate(["hen", *prompts[1:]], config, seq_len=14, seed=3)
    assert other[1:] == texts[1:] and other[0].text != texts[0].text
    short = pipeline.generate(prompts, config, seq_len=5, seed=3)
    assert max(len(text.ids) for text in short) == 4 and max(len(text.ids) for text in texts) > 4
    assert pipeline.generate(prompts, replace(config, temperature=0.1), seq_len=14, seed=3) != texts


def _numbered(number: int) -> Callable[[int, int, int], RowGenerators]:
    original = RowGenerators.for_rows
    return lambda seed, first, rows: original(seed, number + first, rows)


@covers(TextGenerator.generate, "best_of")
def test_best_of_several_drafts(pipeline: Pipeline) -> None:
    drafts = pipeline.generate(["cab"] * 4 + ["dog"] * 4, WARM, seq_len=12, seed=2)
    best = pipeline.generate(["cab", "dog"], WARM, seq_len=12, seed=2, best_of=4)
    for text, group in zip(best, (drafts[:4], drafts[4:]), strict=True):
        finished = [draft for draft in group if draft.finished] or group
        values = [gain(pipeline, draft) for draft in finished]
        assert text == finished[max(range(len(values)), key=values.__getitem__)]


def gain(pipeline: Pipeline, text: Generated) -> float:
    """log p(text | prompt) - log p(text), token by token."""
    ids = torch.tensor([[pipeline.tokenizer.end, *text.ids, *[pipeline.tokenizer.end] * text.finished]])
    total = 0.0
    for prompt, sign in ((text.prompt, 1), ("", -1)):
        with torch.no_grad():
            logits = pipeline.model.prefill(ids, pipeline.encode([prompt]))[0][
                0, :, : pipeline.tokenizer.size
            ]
        for place in range(ids.shape[1] - 1):
            total += sign * float(torch.log_softmax(logits[place], -1)[ids[0, place + 1]])
    return total


@covers(TextGenerator.log_likelihood, "ids", "condition")
def test_likelihood_of_each_row(pipeline: Pipeline) -> None:
    texts = [Generated("", prompt, True, 3, ids) for prompt, ids in (("cab", [1, 2, 3]), ("dog", [3, 2, 5]))]
    ids = torch.cat([pipeline.row(text) for text in texts])
    given = pipeline.log_likelihood(ids, pipeline.encode(["cab", "dog"]))
    without = pipeline.log_likelihood(ids, pipeline.encode(["", ""]))
    assert (given - without).tolist() == pytest.approx([gain(pipeline, text) for text in texts], abs=1e-5)
    assert [pipeline.prompt_pmi(text) for text in texts] == pytest.approx(
        (given - without).tolist(), abs=1e-5
    )


@covers(TextGenerator.generate, "stop")
@covers(TextGenerator.stream, "stop")
@pytest.mark.parametrize("config", [WARM, STEPPED], ids=["verified", "leftmost"])
def test_texts_up_to_a_stop_string(pipeline: Pipeline, config: GenerationConfig) -> None:
    """Each text is the beginning of what it would be without; the last of a stream is the same."""
    prompts = ["cab", "dog", "cab"]
    whole = [text.text for text in pipeline.generate(prompts, config, seq_len=20, seed=3)]
    longest = max(whole, key=len)
    stop = [longest[4:6], longest[6]]
    texts = pipeline.generate(prompts, config, seq_len=20, seed=3, stop=stop)
    assert [text.text for text in texts] == [re.split("|".join(stop), text)[0] for text in whole]
    assert [len(text.ids) for text in texts] == [len(text.text) for text in texts]  # one letter, one token
    stopped = texts[whole.index(longest)]
    assert stopped.stop in stop and stopped.finished and len(stopped.text) <= 6
    assert list(pipeline.stream("cab", config, seq_len=20, seed=3, stop=stop))[-1] == texts[0]


@covers(TextGenerator.states, "prompt", "config", "seq_len", "seed", "number", "stop")
@pytest.mark.parametrize("config", [WARM, STEPPED], ids=["verified", "leftmost"])
def test_states_of_each_text_of_a_call(pipeline: Pipeline, config: GenerationConfig) -> None:
    """What is settled only grows, up to the text that a call writes in this place."""
    prompts = ["cab", "dog", "cab"]
    texts = pipeline.generate(prompts, config, seq_len=15, seed=4, stop=["a"])
    for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        states = list(pipeline.states(prompt, config, seq_len=15, seed=4, number=number, stop=["a"]))
        settled = [state.ids[: state.settled] for state in states]
        assert all(after[: len(before)] == before for before, after in pairwise(settled))
        assert settled[-1] == states[-1].ids and settled[-1][: len(text.ids)] == text.ids
        assert any(len(state.ids) > state.settled for state in states)


@covers(TextGenerator.stream, "prompt", "config", "seq_len", "seed", "mask")
@covers(TextGenerator.__call__, "prompt", "steps", "seed", "seq_len", "config")
def test_a_stream_and_a_call_of_the_same_text(pipeline: Pipeline) -> None:
    base: dict[str, Any] = {"prompt": "cab", "config": STEPPED, "seq_len": 12, "seed": 6}
    changes = {"prompt": "dog", "config": replace(STEPPED, temperature=0.2), "seq_len": 6, "seed": 5}
    texts = set()
    for name in (None, *changes):
        chosen = base | ({name: changes[name]} if name else {})
        states = list(pipeline.stream(**chosen, mask="#"))
        prompt, config = chosen.pop("prompt"), chosen.pop("config")
        (text,) = pipeline.generate([prompt], config, **chosen)
        assert states[-1] == text and any("#" in state.text for state in states)
        assert pipeline(prompt, **chosen, **vars(config)) == text.text
        assert not any("#" in state.text for state in pipeline.stream(prompt, config, **chosen, mask="?"))
        texts.add(text.text)
    assert len(texts) == 5
    stepped = replace(pipeline.generation_config, sampler="leftmost", num_steps=3)
    assert pipeline("cab", steps=3, seq_len=9) == pipeline.generate(["cab"], stepped, seq_len=9)[0].text


@covers(Pipeline, "model", "process", "tokenizer", "prompt_tokenizer", "generation_config")
def test_parts_of_a_pipeline() -> None:
    network, process, tokenizer = parts()
    whole = Pipeline(network, process, tokenizer, None, WARM)
    texts = whole.generate(["cab"] * 3, seq_len=12)
    assert texts == Pipeline(network, process, tokenizer).generate(["cab"] * 3, WARM, seq_len=12)
    assert texts != Pipeline(network, process, tokenizer).generate(["cab"] * 3, seq_len=12)
    with torch.no_grad():
        moved = model()
        moved.output_scale.mul_(2)
    assert Pipeline(moved, process, tokenizer).generate(["cab"] * 3, WARM, seq_len=12) != texts
    letters = build_tokenizer("characters", 23, ["zyxwvutsrqponmlk"])
    assert (
        Pipeline(network, process, letters).generate(["mop"] * 3, WARM, seq_len=12)[0].text != texts[0].text
    )
    spelled = Pipeline(network, process, tokenizer, letters)
    ids = torch.tensor([letters.encode("zoo")])
    expected = network.encode(ids, torch.ones_like(ids, dtype=torch.bool))
    torch.testing.assert_close(spelled.encode(["zoo"]).keys, expected.keys)
    assert set(spelled.generate(["zoo"], WARM, seq_len=20)[0].text) <= set("abcdefghijklmnop")
    vectors = Pipeline(model(process="gaussian"), process_of("gaussian"), tokenizer)
    assert vectors.process.with_embeddings(vectors.model.token_embedding) == vectors.process
    assert vectors.generate(["cab"], GenerationConfig(sampler="ddpm", num_steps=2), seq_len=6)


@covers(Pipeline, "compile", "min_int8_numel")
def test_compiled_and_quantized(monkeypatch: Patch) -> None:
    compiled: list[Any] = []

    def program(network: Any) -> Any:
        compiled.append(network)
        return network

    monkeypatch.setattr(pipeline_module, "CompiledDenoiser", program)
    pipeline = Pipeline(*parts(), compile=True)
    assert compiled == [pipeline.model]
    Pipeline(*parts())
    assert len(compiled) == 1
    for least, expected in ((1, True), (10**6, False), (None, False)):
        network = Pipeline(model(torch.float32), *parts()[1:], min_int8_numel=least).model
        assert any(isinstance(part, Int8Linear) for part in network.modules()) == expected
        assert (network.int8_head is not None) == expected


@covers(TextGenerator.from_checkpoint, "path", "device", "precision", "compile")
def test_a_pipeline_of_a_checkpoint(make: Make, monkeypatch: Patch) -> None:
    trainer = make(seed=1)
    trainer.train_step()
    paths = [make().save(), trainer.save()]
    write_generation_config(paths[1], {"best": WARM})
    loaded, made = spy(monkeypatch, pipeline_module, "load_checkpoint"), list[tuple[Any, ...]]()
    init = Pipeline.__init__

    def noted(self: Pipeline, *arguments: Any) -> None:
        made.append(arguments)
        init(self, *arguments[:5], False, arguments[6])  # nothing is compiled here

    monkeypatch.setattr(Pipeline, "__init__", noted)
    one, other = (Pipeline.from_checkpoint(path) for path in paths)
    assert not torch.equal(one.model.token_embedding, other.model.token_embedding)
    assert torch.equal(other.model.token_embedding, trainer.average.token_embedding)
    assert (one.generation_config, other.generation_config) == (GenerationConfig(), WARM)
    assert one.model.token_embedding.dtype == torch.float32 and made[0][5:] == (False, None)
    half = Pipeline.from_checkpoint(paths[0], "cpu", "bfloat16", compile=True)
    assert half.model.token_embedding.dtype == torch.bfloat16 and made[-1][5:] == (True, None)
    sizes = {}
    for compiles in (False, True):
        Pipeline.from_checkpoint(paths[0], precision="int8", compile=compiles)
        sizes[compiles] = made[-1][6]
    assert sizes == {False: pipeline_module.MIN_INT8_NUMEL, True: pipeline_module.MIN_INT8_NUMEL_COMPILED}
    assert {str(call["device"]) for call in loaded} == {"cpu"}
    with pytest.raises(UsageError, match="int8, which is for a CPU, but device is cuda"):
        Pipeline.from_checkpoint(paths[0], "cuda", "int8")


@covers(TextGenerator.guided, "prompts", "config", "banned_ids")
@torch.no_grad()
def test_what_guides(pipeline: Pipeline) -> None:
    guided, condition = pipeline.guided(["cab", "dog"], WARM, banned_ids=[2, 5])
    assert isinstance(guided, ClassifierFreeGuidance)
    assert (guided.scale, guided.plausibility) == (WARM.guidance_scale, WARM.plausibility)
    logits = guided.prefill(torch.tensor([[0], [0]]), condition)[0]
    impossible = (logits == -torch.inf).any(dim=(0, 1)).nonzero().flatten().tolist()
    assert impossible == [2, 5] and logits.shape[-1] == pipeline.tokenizer.size < CONFIG.vocab_size
    torch.testing.assert_close(condition.keys, pipeline.encode(["cab", "dog"]).keys)


@covers(infill, "pipeline", "text", "config", "prompt", "seed", "num_samples")
def test_arguments_of_infilling(pipeline: Pipeline, monkeypatch: Patch) -> None:
    base: dict[str, Any] = dict(text="ab[MASK:6]d", config=STEPPED, prompt="cab", seed=1, num_samples=3)
    texts = [text.text for text in infill(pipeline, **base)]
    assert len(set(texts)) == 3 and all(
        text[:2] == "ab" and text[-1] == "d" and len(text) == 9 for text in texts
    )
    for name, value in {
        "text": "ac[MASK:6]d",
        "config": replace(STEPPED, temperature=0.3),
        "prompt": "dog",
        "seed": 2,
    }.items():
        assert [text.text for text in infill(pipeline, **base | {name: value})] != texts
    assert [text.text for text in infill(pipeline, **base | {"num_samples": 2})] == texts[:2]
    assert {text.prompt for text in infill(pipeline, **base)} == {"cab"}
    guided = spy(monkeypatch, Pipeline, "guided")
    infill(pipeline, **base)
    infill(pipeline, **base | {"prompt": ""})
    seen = [(call["prompts"], call["config"].guidance_scale) for call in guided]
    assert seen == [(["cab"], 2.0)] * 3 + [([""], 0.0)] * 3
    assert {tuple(call["banned_ids"]) for call in guided} == {(pipeline.tokenizer.end,)}


@covers(infill, "num_particles", "max_tokens")
def test_arguments_of_the_posterior(pipeline: Pipeline) -> None:
    base: dict[str, Any] = dict(text="ab[MASK:1-4]d[MASK:2-4]", prompt="cab", seed=1, num_samples=2)
    texts = infill(pipeline, **base)
    few = infill(pipeline, **base, num_particles=3)
    assert [text.text for text in few] != [text.text for text in texts]
    assert max(text.effective_sample_size or 0 for text in texts) > 3
    assert all((text.effective_sample_size or 9) <= 3 for text in few)
    for bound, most in ((2, (2, 2)), ([3, 4], (3, 4))):
        short = infill(pipeline, **base, max_tokens=bound, num_particles=3)
        assert all(len(fill) <= size for text in short for fill, size in zip(text.fills, most, strict=True))
    for wrong in (0, [2], "2", 1):  # the second gap has at least two tokens
        with pytest.raises(UsageError, match="max_tokens"):
            infill(pipeline, **base, max_tokens=wrong)


@covers(rewrite, "pipeline", "text", "spans", "prompt", "config", "seed", "n", "num_particles")
def test_arguments_of_rewriting(pipeline: Pipeline, monkeypatch: Patch) -> None:
    base: dict[str, Any] = dict(
        text="abcdefghijklmn", spans=[(1, 3)], prompt="cab", seed=3, n=4, num_particles=3
    )
    texts = [text.text for text in rewrite(pipeline, **base)]
    assert len(set(texts)) == 4 and all(text[0] == "a" and text[-11:] == "defghijklmn" for text in texts)
    for name, value in {
        "text": "abcdefghijklma",
        "spans": [(0, 1)],
        "config": GenerationConfig(guidance_scale=1.0, temperature=0.3),
        "prompt": "dog",
        "seed": 2,
        "num_particles": 9,
    }.items():
        assert [text.text for text in rewrite(pipeline, **base | {name: value})] != texts
    assert len(rewrite(pipeline, **base | {"n": 3})) == 3


def test_the_checkpoint_is_that_of_its_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing-there"):
        Pipeline.from_checkpoint(tmp_path / "nothing-there")


def test_gaps_and_rewriting_get_every_argument() -> None:
    pipeline = Pipeline(*parts())
    fills = dict(prompt="mob", seed=3, num_samples=2, num_particles=5, max_tokens=3)
    assert pipeline.infill("cab[MASK]mob", WARM, **fills) == infill(pipeline, "cab[MASK]mob", WARM, **fills)
    arguments = dict(seed=3, n=2, num_particles=5)
    assert pipeline.rewrite("cabmob", [(0, 3)], "mob", WARM, **arguments) == rewrite(
        pipeline, "cabmob", [(0, 3)], "mob", WARM, **arguments
    )
