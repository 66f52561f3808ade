"""What an export writes: the pipeline's own texts, without PyTorch."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sunfish.cli import main
from sunfish.config import GenerationConfig
from sunfish.export import standalone
from sunfish.export.standalone import RULES, Model, Random
from sunfish.rng import make_generator, softmax
from sunfish.sampling.logits import warp
from sunfish.sampling.pipeline import Pipeline
from tests.syntax import parsed

PROMPT = "Write a story about a robot"
# Settings, a prompt, and the positions of a text; the context has 96.
CASES: dict[str, tuple[dict[str, object], str, int]] = {
    "defaults": ({}, PROMPT, 16),
    "conditional": ({"guidance_scale": 1.0}, PROMPT, 16),
    "the prompt ignored": ({"guidance_scale": 0.0}, PROMPT, 16),
    "strong guidance": ({"guidance_scale": 7.0, "temperature": 1.0}, "Describe the ocean", 16),
    "plain guidance": ({"guidance_scale": 2.0, "plausibility": 0.0, "temperature": 1.0}, PROMPT, 16),
    "negative prompt": ({"negative_prompt": "Write about a cat in the garden"}, "Write about dogs", 16),
    "no prompt": ({}, "", 16),
    "causal": ({"block_length": 1}, PROMPT, 16),
    "long blocks": ({"block_length": 16, "temperature": 0.9}, PROMPT, 16),
    "nucleus": ({"top_p": 0.8, "temperature": 1.2}, PROMPT, 16),
    "greedy": ({"temperature": 0.0}, PROMPT, 16),
    "cold": ({"temperature": 0.0005}, PROMPT, 16),
    "colder": ({"temperature": 1e-8, "top_p": 0.5}, PROMPT, 16),
    "hot": ({"temperature": 1e38}, PROMPT, 16),
    "lenient": ({"lenience": 0.3}, PROMPT, 16),
    "two positions": ({"temperature": 1.0}, PROMPT, 2),
    "beyond the context": ({"guidance_scale": 1.0}, PROMPT, 110),
}


@pytest.fixture(scope="module")
def pipeline(checkpoint: Path) -> Pipeline:
    return Pipeline.from_checkpoint(checkpoint)


@pytest.fixture(scope="module")
def sampler(exported: Path) -> Model:
    return Model(exported, threads=1)


SLOW = {
    "conditional",
    "the prompt ignored",
    "strong guidance",
    "plain guidance",
    "long blocks",
    "greedy",
    "lenient",
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CASES]
)
def test_it_writes_what_the_pipeline_writes(pipeline: Pipeline, sampler: Model, name: str) -> None:
    (given, prompt, seq_len), seed = CASES[name], len(name)
    config = GenerationConfig(**{"guidance_scale": 3.0 if prompt else 0.0, **given})  # type: ignore[arg-type]
    expected = pipeline.generate([prompt] * 2, config, seed=seed, seq_len=seq_len)
    written = [sampler.write(prompt, seed=seed, number=i, seq_len=seq_len, **given) for i in range(2)]
    assert written == [text.text for text in expected]
    assert min(map(len, written)) >= seq_len // 2


def test_texts_end_where_the_pipeline_ends_them(pipeline: Pipeline, sampler: Model) -> None:
    """A hot network draws the end mark early."""
    config = GenerationConfig(guidance_scale=1.0, temperature=5.0, block_length=16)
    finished = 0
    for seed in range(12):
        expected = pipeline.generate([PROMPT], config, seed=seed)[0]
        parts = sampler.stream(PROMPT, seed, 0, 0, guidance_scale=1.0, temperature=5.0, block_length=16)
        ids = [i for part in parts for i in part]
        assert ids == [*expected.ids, *[sampler.settings["end"]] * expected.finished]
        finished += expected.finished
    assert finished


def test_the_graphs_hold_guidance(pipeline: Pipeline, sampler: Model) -> None:
    """Log-probabilities of the causal pass, against the guided network in PyTorch, for every kind of scale."""
    ids = [sampler.settings["end"], 7, 11, 300, 42]
    for scale in (0.5, 1.0, 2.0, 100.0):
        config = GenerationConfig(guidance_scale=scale)
        guided, condition = pipeline.guided([PROMPT], config)
        logits, _ = guided.prefill(torch.tensor([ids]), condition)
        expected = torch.log_softmax(logits[0], dim=-1)
        settings = {**sampler.settings["sampling"], "guidance_scale": scale}
        branches = sampler.encode(PROMPT, settings)
        actual, grown = sampler.verify(ids, sampler.empty_cache(branches), 0, branches)
        assert grown.shape[4] == len(ids)
        torch.testing.assert_close(torch.from_numpy(actual), expected, rtol=1e-4, atol=1e-4 * max(1.0, scale))


@pytest.mark.parametrize("name", [("sample", 0, 0), ("sample", 2**40, 3), ("fork", 17, "window", 1)])
def test_the_random_numbers_are_those_of_pytorch(name: tuple[int | str, ...]) -> None:
    generator, random = make_generator(*name), Random(*name)
    for count in (1, 8, 700):
        expected = torch.rand(count, generator=generator, dtype=torch.float64)
        assert (random.uniform(count) == expected.numpy()).all()


@pytest.mark.parametrize("temperature", [0.0, 0.0005, 0.7, 1.0, 3.0])
@pytest.mark.parametrize("top_p", [0.6, 1.0])
def test_tokens_are_drawn_from_the_probabilities_of_the_pipeline(temperature: float, top_p: float) -> None:
    logits = 4 * torch.randn(5, 9, generator=torch.Generator().manual_seed(3))
    expected = softmax(warp(logits, GenerationConfig(temperature=temperature, top_p=top_p)))
    actual = standalone.probabilities(logits.numpy(), temperature, top_p)
    torch.testing.assert_close(torch.from_numpy(actual), expected, check_dtype=False, rtol=1e-5, atol=1e-7)


def test_it_needs_nothing_but_three_packages() -> None:
    tree = parsed(Path(standalone.__file__).read_text(encoding="utf-8"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names = {module.partition(".")[0] for module in modules}
    assert names - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "tokenizers"}


@pytest.mark.slow
def test_the_program_beside_the_graphs(
    checkpoint: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints what ``sunfish sample`` prints, where neither this package nor PyTorch can be imported."""
    words = ["--prompt", PROMPT, "--seed", "5", "--seq-len", "30", "--guidance-scale", "2"]
    code = (
        "import runpy, sys\n"
        "sys.modules['torch'] = sys.modules['sunfish'] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", code, str(exported / "sample.py"), *more]
        return subprocess.run(program, capture_output=True, text=True, cwd=exported.parent)

    done = run(*words, "--num-samples", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert main(["sample", str(checkpoint), *words, "--num-samples", "2", "--json"]) == 0
    expected = [text["text"] for text in json.loads(capsys.readouterr().out)]
    assert done.stdout == "".join(f"{text}\n" for text in expected)
    wrong = run("--sampler", "confidence")
    assert wrong.returncode == 2
    assert wrong.stderr == (
        "error: sampler is 'confidence': give verified; for any other use sunfish sample with the checkpoint\n"
    )


class Recorder:
    """In place of a model: notes what it is asked for."""

    def __init__(self, *, threads: int) -> None:
        self.threads = threads
        self.asked: list[dict[str, object]] = []

    def write(self, prompt: str, **given: object) -> str:
        self.asked.append({"prompt": prompt, **given})
        if given["seed"] == 13:
            raise ValueError("an unlucky number")
        return f"text {given['number']}"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """The models that the program opens."""
    models: list[Recorder] = []

    def open_model(*, threads: int) -> Recorder:
        models.append(Recorder(threads=threads))
        return models[-1]

    monkeypatch.setattr(standalone, "Model", open_model)
    return models


GIVEN: dict[str, object] = {
    "temperature": 0.8,
    "top_p": 0.7,
    "lenience": 0.6,
    "guidance_scale": 2.5,
    "plausibility": 0.4,
    "block_length": 3,
    "sampler": "verified:2",
    "negative_prompt": "cats",
}


@pytest.mark.parametrize("names", [[], *([name] for name in GIVEN), list(GIVEN)], ids=" ".join)
def test_what_the_command_line_says_arrives(
    opened: list[Recorder],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    names: list[str],
) -> None:
    """Each setting in its kind, and what is not given is left to the export."""
    flags = [word for name in names for word in (f"--{name.replace('_', '-')}", str(GIVEN[name]))]
    words = ["--prompt", PROMPT, "--num-samples", "2", "--seed", "5", "--seq-len", "9", "--threads", "4"]
    monkeypatch.setattr(sys, "argv", ["sample.py", *words, *flags])
    assert standalone.main() == 0
    assert capsys.readouterr().out == "text 0\ntext 1\n"
    given = {name: GIVEN[name] for name in names}
    assert opened[0].threads == 4
    assert opened[0].asked == [
        {"prompt": PROMPT, "seed": 5, "number": number, "seq_len": 9, **given} for number in range(2)
    ]


def test_its_help_explains_every_flag(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In phrases, as the help of this package does."""
    monkeypatch.setattr(sys, "argv", ["sample.py", "--help"])
    with pytest.raises(SystemExit):
        standalone.main()
    description, flags = capsys.readouterr().out.split("\n\n")[1:]
    assert description == "Write texts from an exported SunFish model."
    helps = {words[0]: " ".join(words[1:]) for words in map(str.split, re.split(r"\n  (?=-)", flags)[2:])}
    names = ["prompt", "num-samples", "seed", "seq-len", "threads", *RULES, "negative-prompt"]
    assert list(helps) == [f"--{name.replace('_', '-')}" for name in names]
    for name, text in zip(names, helps.values(), strict=True):
        value, _, phrase = text.partition(" ")
        assert value == name.upper().replace("-", "_") and re.match(r"[a-z\d]|CPU ", phrase)
        assert set(re.findall(r"[A-Z]+", phrase)) <= {"CPU"} and not phrase.endswith(".")


def test_a_command_line_without_words_and_one_that_fails(
    opened: list[Recorder], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sample.py"])
    assert standalone.main() == 0
    assert opened[0].threads == 0
    assert opened[0].asked == [{"prompt": "", "seed": 0, "number": 0, "seq_len": 0}]
    assert capsys.readouterr().out == "text 0\n"
    monkeypatch.setattr(sys, "argv", ["sample.py", "--seed", "13"])
    assert standalone.main() == 2
    assert capsys.readouterr().err == "error: an unlucky number\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampler": "verified:1"}, "sampler is 'verified:1'"),
        ({"guidance_scale": -1.0}, "guidance_scale is -1.0: give 0"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"temperature": -0.5}, "temperature is -0.5"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"block_length": 0}, "block_length is 0"),
        ({"num_steps": 20}, "there is no setting 'num_steps'"),
        ({"negative_prompt": "cats", "guidance_scale": 1.0}, "needs a guidance_scale above 1"),
        ({"seq_len": 1}, "seq_len is 1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_settings_are_named(sampler: Model, given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampler.write(PROMPT, **given)  # type: ignore[arg-type]


def test_a_prompt_that_is_too_long_is_refused(sampler: Model) -> None:
    with pytest.raises(ValueError, match="this model has room for 64; shorten it"):
        sampler.write("robot " * 200)


def test_another_format_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    settings = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps({**settings, "format": "sunfish-onnx-0"}))
    with pytest.raises(ValueError, match="has format 'sunfish-onnx-0'"):
        Model(folder)


@pytest.mark.parametrize("name", ["verify.onnx", "tokenizer.json"])
def test_a_damaged_file_is_named(exported: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    with pytest.raises(ValueError, match=rf"{name} cannot be read \(.+\); export the checkpoint again"):
        Model(folder)
