"""From a prompt to a text: streams, calls, and what has to agree between them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from sunfish.cli import main
from sunfish.commands.display import watch
from sunfish.config.sampling import VERIFIED, SamplingSettings
from sunfish.model.transformer import Transformer
from sunfish.processes.masked import MaskedProcess
from sunfish.rng import generator_of
from sunfish.sampling.infilling import infill, parse
from sunfish.sampling.pipeline import Generated, Pipeline
from tests.conftest import Workplace

PROMPT = "Write a story about a robot"


@pytest.fixture(scope="module")
def pipeline(trained: Workplace) -> Pipeline:
    return Pipeline.from_checkpoint(trained.checkpoint)


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(sampler="leftmost", block_length=4),
        SamplingSettings(block_length=0, sampler="confidence", num_steps=5),
        SamplingSettings(block_length=8, sampler="remask:0.5", num_steps=6),
        SamplingSettings(block_length=4, sampler="verified"),
    ],
)
def test_a_stream_ends_with_the_text_and_shows_its_way(
    pipeline: Pipeline, settings: SamplingSettings
) -> None:
    arguments = {"guidance_scale": 2.0, "seq_len": 24, "settings": settings, "seed": 3}
    states = list(pipeline.stream(PROMPT, **arguments, mask="#"))
    assert states[-1] == pipeline.generate([PROMPT], **arguments)[0]
    assert len(states) > 3
    if settings.sampler != "verified":  # whose drafts are tokens
        assert any("#" in state.text for state in states)
    if settings.block_length == 0:
        assert states[0].text == "" and states[1].text == "#" * 23 and states[1].tokens == 0
        assert [state.tokens for state in states] == sorted(state.tokens for state in states)


def test_a_call_is_one_text(pipeline: Pipeline) -> None:
    text = pipeline(PROMPT, guidance_scale=2, steps=3, seed=5, seq_len=20, temperature=0.9)
    settings = SamplingSettings(num_steps=3, sampler="leftmost", temperature=0.9)
    same = pipeline.generate([PROMPT], guidance_scale=2.0, seq_len=20, settings=settings, seed=5)
    assert text == same[0].text != pipeline(PROMPT, guidance_scale=2, steps=3, seed=6, seq_len=20)


@pytest.mark.parametrize(
    "sampler", [*MaskedProcess.samplers, "threshold:0.2", "prefix:0.05", "entropy:6", VERIFIED]
)
def test_a_text_does_not_depend_on_the_batch(pipeline: Pipeline, sampler: str) -> None:
    """Also where the rows of a batch need different numbers of steps."""
    settings = SamplingSettings(sampler=sampler, num_steps=6, temperature=0.9)
    prompts = [PROMPT, "Write about dogs", ""]
    together = pipeline.generate(prompts, seq_len=16, settings=settings, seed=2)
    by_one = pipeline.generate(prompts, seq_len=16, settings=settings, seed=2, batch_size=1)
    assert together == by_one


def test_fit_is_the_gain_in_exact_likelihood(pipeline: Pipeline) -> None:
    """Against the likelihoods of the two prompts, each computed on its own."""
    text = pipeline.generate([PROMPT], seq_len=20)[0]
    end = pipeline.tokenizer.end
    ids = torch.tensor([[end, *text.ids] + [end] * text.finished])
    sums = []
    for prompt in (PROMPT, ""):
        with torch.no_grad():
            _, logits = pipeline.model.remember(ids[:, :-1], pipeline.encode([prompt]))
        logits = logits[..., : pipeline.tokenizer.size]
        sums.append(-float(F.cross_entropy(logits[0], ids[0, 1:], reduction="sum")))
    assert pipeline.fit(text) == pytest.approx(sums[0] - sums[1], abs=1e-3)
    assert pipeline.fit(text._replace(prompt="")) == pytest.approx(0, abs=1e-5)


def test_best_of_keeps_the_draft_that_fits_best(pipeline: Pipeline) -> None:
    prompts = [PROMPT, "Write about dogs"]
    settings = SamplingSettings(temperature=1.0)
    best = pipeline.generate(prompts, seq_len=16, settings=settings, seed=4, best_of=3)
    drafts = pipeline.generate([p for p in prompts for _ in range(3)], seq_len=16, settings=settings, seed=4)
    for text, group in zip(best, (drafts[:3], drafts[3:]), strict=True):
        candidates = [draft for draft in group if draft.finished] or group
        assert text in candidates and pipeline.fit(text) == max(map(pipeline.fit, candidates))
    for wrong, message in ((0, "best_of is 0"), (2, "without a prompt")):
        with pytest.raises(ValueError, match=message):
            pipeline.generate([""], best_of=wrong)


def test_verified_writing_fills_no_gap(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match=r"'verified'.*cannot fill a gap"):
        infill(pipeline, "a [MASK]", settings=SamplingSettings(sampler="verified"))
    with pytest.raises(ValueError, match="block_length is 0"):
        SamplingSettings(sampler="verified", block_length=0)


def test_an_empty_negative_prompt_is_no_prompt(pipeline: Pipeline) -> None:
    def write(negative: str) -> str:
        settings = SamplingSettings(negative_prompt=negative, temperature=1.0, plausibility=0.0)
        return pipeline.generate([PROMPT], guidance_scale=4.0, seq_len=20, settings=settings)[0].text

    assert write("") == pipeline(PROMPT, guidance_scale=4.0, seq_len=20, temperature=1.0, plausibility=0.0)
    assert write("Write about dogs") != write("")


def test_a_negative_prompt_without_effect_is_wrong_use(
    trained: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "sample",
        str(trained.checkpoint),
        "--prompt",
        PROMPT,
        "--seq_len",
        "8",
        "--negative_prompt",
        "x",
    ]
    assert main([*words, "--guidance_scale", "1"]) == 2
    assert "above 1" in capsys.readouterr().err
    assert main([*words, "--guidance_scale", "2"]) == 0


def test_watch_shows_the_states_and_prints_the_text(
    trained: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "sample",
        str(trained.checkpoint),
        "--prompt",
        PROMPT,
        "--seq_len",
        "12",
        "--num_steps",
        "5",
        "--cpu",
    ]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert main([*words, "--watch"]) == 0
    captured = capsys.readouterr()
    assert captured.out == text
    assert "▒▒▒" in captured.err and text.strip() in captured.err
    assert main([*words, "--watch", "--num_samples", "2"]) == 2


def test_the_screen_shows_the_end_of_a_long_text(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow terminal the text is wrapped, not cut; on a low one its last lines are seen."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=30, height=4)
    monkeypatch.setattr("rich.console.Console", lambda **_: console)
    words = [f"word{number}" for number in range(40)]
    states = [Generated(" ".join(words[:count]), "", False, count, []) for count in (10, 40)]
    assert watch(iter(states)) == states[-1]
    assert "word39" in screen.getvalue() and "word20" not in screen.getvalue()


@pytest.mark.parametrize(
    "text,expected",
    [
        ("a [MASK] b", (["a ", " b"], [range(1, 7)])),
        ("[MASK:5]", (["", ""], [range(5, 6)])),
        ("x [MASK:2-12] y [MASK:3].", (["x ", " y ", "."], [range(2, 13), range(3, 4)])),
    ],
)
def test_gaps_are_found(text: str, expected: tuple[list[str], list[range]]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text", ["a [MASK:x]", "a [MASK:]", "a [MASK:0]", "a [MASK:5-3]", "a [MASK:-1]", "no gap"]
)
def test_gaps_without_a_length_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"no length|no \[MASK\]"):
        parse(text)


def test_infill_fills_every_gap_with_its_length(pipeline: Pipeline) -> None:
    settings = SamplingSettings(sampler="leftmost", num_steps=3, temperature=1.5)
    ends = 0
    for seed in range(5):
        (text,) = infill(pipeline, "The dog [MASK:3] and [MASK:2-4] home.", settings=settings, seed=seed)
        assert text.text.startswith("The dog ") and text.text.endswith(" home.") and " and " in text.text
        given = len(pipeline.tokenizer.encode("The dog and home."))
        assert given + 3 <= text.tokens <= given + 9  # pieces may be cut into a few tokens more
        ends += text.ids.count(pipeline.tokenizer.end)
    assert ends == 0  # an end mark would leave a gap shorter than asked for
    with pytest.raises(ValueError, match="this model reads at most 96"):
        infill(pipeline, "The dog [MASK:95] home.")


def test_ids_beyond_the_tokenizer_are_never_written(pipeline: Pipeline) -> None:
    """A model has as many rows as its size says; a small vocabulary leaves some of them without meaning."""
    size = pipeline.tokenizer.size
    model = Transformer(replace(pipeline.model.config, vocab_size=size + 4000)).initialise(
        generator_of("spare")
    )
    spare = Pipeline(model, pipeline.process, pipeline.tokenizer)
    for sampler in ("leftmost", "verified"):
        settings = SamplingSettings(sampler=sampler, temperature=1.0)
        for text in spare.generate(["Write"] * 3, guidance_scale=2.0, seq_len=12, settings=settings):
            assert text.tokens > 0 and max(text.ids) < size


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_a_negative_prompt_that_would_lead_to_it_is_refused(pipeline: Pipeline, scale: float) -> None:
    with pytest.raises(ValueError, match="negative_prompt is 'dogs'"):
        pipeline.generate([PROMPT], guidance_scale=scale, settings=SamplingSettings(negative_prompt="dogs"))


def test_a_picture_keeps_every_state(
    trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    words = ["sample", str(trained.checkpoint), "--cpu", "--seq_len", "16", "--num_steps", "4"]
    assert main([*words, "--gif", str(tmp_path / "way.gif")]) == 0
    shown = capsys.readouterr()
    states = list(
        Pipeline.from_checkpoint(trained.checkpoint).stream(
            guidance_scale=0.0,
            seq_len=16,
            settings=SamplingSettings(num_steps=4, sampler="leftmost"),
            mask=" __",
        )
    )
    with Image.open(tmp_path / "way.gif") as picture:
        # Frames that look alike become one, which then stays for longer.
        assert 1 < picture.n_frames <= len(states)
        picture.seek(picture.n_frames - 1)
        assert picture.info["duration"] >= 3000
    assert shown.out == states[-1].text + "\n" and "way.gif" in shown.err
    for flags, said in (
        (["--gif", "way.mp4"], ".gif"),
        (["--gif", "a.gif", "--num_samples", "2"], "one text"),
    ):
        assert main([*words, *flags]) == 2
        assert said in capsys.readouterr().err


def test_further_prompts_from_the_command_line(
    trained: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    """The flag reaches the formula: the weights of two prompts may be swapped with the prompts."""
    words = [
        "sample",
        str(trained.checkpoint),
        "--cpu",
        "--seq_len",
        "12",
        "--sampler",
        "leftmost",
        "--temperature",
        "0",
    ]
    one, two = "Write about dogs", "Describe the ocean"
    texts = []
    for prompt, other, weight in ((one, two, "1"), (two, one, "1"), (one, two, "3")):
        assert main([*words, "--prompt", prompt, "--also", other, weight, "--json"]) == 0
        texts.append(json.loads(capsys.readouterr().out)[0]["text"])
    assert texts[0] == texts[1]
    for flags, said in (
        (["--also", two, "1"], "beside a --prompt"),
        (["--prompt", one, "--also", two, "none"], "has weight 'none'"),
        (["--prompt", one, "--guidance-interval", "0.9", "0.1"], "guidance_interval is 0.9 0.1"),
        (["--prompt", one, "--top-p", "0"], "top_p is 0"),
        (["--prompt", one, "--lenience", "1.5"], "lenience is 1.5"),
        (["--prompt", one, "--lenience", "0.5", "--sampler", "confidence"], "lenience is for verified"),
        (["--prompt", one, "--lenience", "0.5", "--num-steps", "4"], "lenience is for verified"),
        (["--prompt", one, "--compile", "--block-length", "0"], "--compile is for passes behind text"),
    ):
        assert main([*words, *flags]) == 2
        assert said in capsys.readouterr().err


def test_a_text_file_is_infilled_by_its_name(
    trained: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").symlink_to(trained.checkpoint.parent)
    (tmp_path / "tale.txt").write_text("The fox [MASK:2] away.\n")
    monkeypatch.chdir(tmp_path)
    assert main(["infill", "tale.txt", "--cpu"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("The fox ") and out.endswith(" away.\n") and "[MASK" not in out


def test_half_the_precision_says_nearly_the_same(trained: Workplace, pipeline: Pipeline) -> None:
    half = Pipeline.from_checkpoint(trained.checkpoint, precision="bfloat16")
    assert half.model.table.dtype == torch.bfloat16
    texts = pipeline.generate([PROMPT, "Write about a cat"], guidance_scale=1.0, seed=5, seq_len=40)
    for text in texts:
        row = pipeline.row(text)
        exact = pipeline.log_likelihood(row, pipeline.encode([text.prompt]))
        rounded = half.log_likelihood(row, half.encode([text.prompt]))
        assert rounded.item() == pytest.approx(exact.item(), rel=0.03)
    for sampler in (VERIFIED, "leftmost", "remask:0.5"):
        settings = SamplingSettings(sampler=sampler, num_steps=4)
        assert half.generate([PROMPT], guidance_scale=2.0, settings=settings, seq_len=24)[0].tokens > 0
    (filled,) = infill(half, "The dog [MASK:3] home.", settings=SamplingSettings(sampler="leftmost"))
    assert filled.text.startswith("The dog ") and filled.text.endswith(" home.")
    with pytest.raises(ValueError, match="precision is 'half'; give one of: float32, bfloat16"):
        Pipeline.from_checkpoint(trained.checkpoint, precision="half")
