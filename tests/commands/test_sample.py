"""``sunfish sample``: what its flags do, what it shows, what it refuses."""

from __future__ import annotations

import json

import pytest

from sunfish.cli import main
from tests.conftest import Workplace

PROMPT = "Write a story about a robot"


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
    for more, count in (
        (["--num_samples", "2"], 2),
        (["--best_of", "2"], 2),
        (["--num_samples", "2", "--best_of", "2"], 4),
    ):
        assert main([*words, "--watch", *more]) == 2
        assert f"--watch shows one text, but {count} were asked for" in capsys.readouterr().err


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
        (["--also", two, "1"], "adds to a prompt"),
        (["--prompt", one, "--also", two, "none"], "has weight 'none'"),
        (["--prompt", one, "--top-p", "0"], "top_p is 0"),
        (["--prompt", one, "--lenience", "1.5"], "lenience is 1.5"),
        (
            ["--prompt", one, "--lenience", "0.5", "--sampler", "confidence"],
            "lenience is 0.5, but sampler is confidence",
        ),
        (
            ["--prompt", one, "--lenience", "0.5", "--num-steps", "4"],
            "lenience is 0.5, but sampler is leftmost",
        ),
        (
            ["--prompt", one, "--compile", "--block-length", "0"],
            "--compile is for passes that continue a text",
        ),
    ):
        assert main([*words, *flags]) == 2
        assert said in capsys.readouterr().err
