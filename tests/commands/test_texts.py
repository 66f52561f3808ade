"""Sampling and filling from the command line: what reaches the model, and how its texts are shown."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sunfish.cli import main
from sunfish.commands.display import show
from sunfish.config import GenerationConfig
from sunfish.config.generation import NUM_PARTICLES
from sunfish.sampling.generated import Generated

CONTEXT = 96
SETTINGS = GenerationConfig(guidance_scale=1.5)


class Writer:
    """A pipeline that remembers what it is asked for; every other text is cut."""

    model = SimpleNamespace(config=SimpleNamespace(context_length=CONTEXT))

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def generate(self, rows: list[str], config: GenerationConfig, **options: Any) -> list[Generated]:
        self.asked.append((rows, config, options))
        return [Generated(f"text {i}", row, i % 2 == 0, 5 + i, [i]) for i, row in enumerate(rows)]


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    writer = Writer()

    def open_pipeline(arguments: object, **options: bool) -> tuple[Writer, GenerationConfig]:
        writer.asked.append(tuple(options.items()))
        return writer, SETTINGS

    monkeypatch.setattr("sunfish.commands.sample.open_pipeline", open_pipeline)
    monkeypatch.setattr("sunfish.commands.infill.open_pipeline", open_pipeline)
    return writer


@pytest.mark.parametrize(
    "words, rows, prompted, options",
    [
        ([], [""], False, {"best_of": 1, "seq_len": None, "seed": 0, "stop": []}),
        (
            ["--prompt", "a", "--prompt", "b", "--num-samples", "2", "--seed", "7"],
            *(["a", "a", "b", "b"], True, {"best_of": 1, "seq_len": None, "seed": 7, "stop": []}),
        ),
        (
            ["--best-of", "3", "--seq-len", "12", "--num-samples", "3"],
            *([""] * 3, False, {"best_of": 3, "seq_len": 12, "seed": 0, "stop": []}),
        ),
    ],
)
def test_every_text_is_asked_for_once_with_the_given_options(
    writer: Writer, words: list[str], rows: list[str], prompted: bool, options: dict[str, Any]
) -> None:
    assert main(["sample", *words]) == 0
    assert writer.asked == [(("prompted", prompted),), (rows, SETTINGS, options)]


@pytest.mark.parametrize(
    "seq_len, within, remedy",
    [
        (None, CONTEXT, f"({CONTEXT} is the model's context"),
        (12, 12, f"({CONTEXT} is the model's context"),
        (CONTEXT, CONTEXT, f"({CONTEXT} is the model's context"),
        (CONTEXT + 1, CONTEXT + 1, "or try another --seed"),
    ],
)
def test_texts_that_were_cut_are_counted(
    writer: Writer, capsys: pytest.CaptureFixture[str], seq_len: int | None, within: int, remedy: str
) -> None:
    words = ["sample", "--num-samples", "5", *(["--seq-len", str(seq_len)] if seq_len else [])]
    assert main(words) == 0
    note = capsys.readouterr().err
    assert f"2 of 5 texts did not finish within {within} positions" in note and remedy in note
    assert main(["sample"]) == 0  # the first text is whole
    assert capsys.readouterr().err == ""


def test_several_texts_have_heads_and_json_has_all_but_the_ids(capsys: pytest.CaptureFixture[str]) -> None:
    texts = [Generated("one", "p", True, 3, [1]), Generated("two", "", False, 4, [2])]
    show(texts[:1], as_json=False)
    assert capsys.readouterr().out == "one\n"
    show(texts, as_json=False)
    assert capsys.readouterr().out == "--- 1 of 2: p\none\n\n--- 2 of 2\ntwo\n"
    show(texts, as_json=True)
    assert json.loads(capsys.readouterr().out) == [
        {"text": "one", "prompt": "p", "finished": True, "tokens": 3, "stop": ""},
        {"text": "two", "prompt": "", "finished": False, "tokens": 4, "stop": ""},
    ]


@pytest.mark.parametrize(
    "words, prompt, seed, samples",
    [
        (["infill", "--text", "a [MASK]"], "", 0, 1),
        (["infill", "--text", "a [MASK]", "--prompt", "p", "--seed", "7", "--num-samples", "3"], "p", 7, 3),
        (["sample", "--mode", "infill", "--text", "a [MASK]", "--prompt", "p"], "p", 0, 1),
    ],
)
def test_filling_gets_the_text_the_prompt_and_the_seed(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, words: list[str], prompt: str, seed: int, samples: int
) -> None:
    filled: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        "sunfish.sampling.infilling.infill", lambda *given, **options: filled.append((*given, options)) or []
    )
    assert main(words) == 0
    assert filled == [
        (
            writer,
            "a [MASK]",
            SETTINGS,
            {"prompt": prompt, "seed": seed, "num_samples": samples, "num_particles": NUM_PARTICLES},
        )
    ]
    assert writer.asked == [(("prompted", bool(prompt)), ("fills", True))]


ENDINGS = {
    b"a [MASK]": "a [MASK]",
    b"a [MASK]\n": "a [MASK]",
    b"a [MASK]\r\n": "a [MASK]",
    b"a [MASK]\n\n": "a [MASK]\n",
    b" a\r\n[MASK] \n": " a\r\n[MASK] ",
}


@pytest.mark.parametrize("content, text", ENDINGS.items())
@pytest.mark.parametrize("is_stdin", [False, True])
def test_a_file_loses_the_end_of_its_last_line_alone(
    writer: Writer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    text: str,
    is_stdin: bool,
) -> None:
    filled: list[str] = []
    monkeypatch.setattr(
        "sunfish.sampling.infilling.infill", lambda _, given, *__, **___: filled.append(given) or []
    )
    (tmp_path / "gaps.txt").write_bytes(content)
    with (tmp_path / "gaps.txt").open() as file:
        monkeypatch.setattr("sys.stdin", file if is_stdin else io.StringIO())
        assert main(["infill", "--file", "-" if is_stdin else str(tmp_path / "gaps.txt")]) == 0
    assert filled == [text]
