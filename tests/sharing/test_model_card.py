"""The model card: YAML that the hub reads, the facts of the run, and nothing that is not known."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from sunfish.config import Config
from sunfish.sharing.model_card import Sample, check_license, model_card
from sunfish.sharing.run_record import RunRecord
from sunfish.utils import UsageError
from tests.tiny_checkpoint import CONFIG

FIGURES = dict(
    bound=3.14159,
    bits_per_byte=1.5,
    block_bound=2.71,
    block_length=4,
    next_token=2.5,
    prompt_gain=0.25,
    texts=1024,
)
RECORD = RunRecord(
    config=CONFIG.with_fields(name="robots", block_lengths=(4, 0), seed=7),
    step=12_345,
    parameters=19_173,
    weights_sha256="ab" * 32,
    trainer={
        "tokens": 5_678_901,
        "seconds": 5400.0,
        "corpus": {"path": "/home/ann/t.txt", "digest": "cd" * 32, "documents": 60_000, "tokens": 1_234_567},
        "environment": {
            "device": "cpu",
            "instructions": "AVX2",
            "threads": 4,
            "precision": "float32",
            "torch": "2.13",
        },
    },
    figures=FIGURES,
    figures_step=12_000,
)
SAMPLES = [Sample("Write about dogs", 0, "A dog ran home."), Sample("", 1, "It slept.")]


def card(samples: list[Sample] = SAMPLES, license: str | None = "mit", **changes: Any) -> str:
    """The card of RECORD with some facts changed."""
    return model_card(RECORD._replace(**changes), samples, "user/robots", license)


def with_fields(**fields: Any) -> Config:
    """The configuration of RECORD with some settings changed."""
    return RECORD.config.with_fields(**fields)


def test_the_hub_reads_the_head() -> None:
    _, head, _ = re.split(r"^---\n", card(), maxsplit=2, flags=re.M)
    assert yaml.safe_load(head) == {
        "library_name": "sunfish",
        "pipeline_tag": "text-generation",
        "license": "mit",
        "tags": ["diffusion-language-model", "text-diffusion", "infilling", "safetensors"],
    }
    assert "\nlicense" not in card(license=None)


def test_the_run_is_told() -> None:
    text = card()
    for row in (
        "| parameters | 19,173 |",
        "| network | 1 layers, width 16, 1 heads, 400 ids |",
        "| texts | up to 96 tokens; prompts of up to 64 tokens |",
        "| process | masked, blocks of 4, the whole text |",
        f"| SHA-256 of the weights | `{'ab' * 32}` |",
        "| data | the built-in stories |",
        "| size of the data | 60,000 texts, 1,234,567 tokens |",
        f"| hash of the data | `{'cd' * 32}` |",
        "| license of the data | mit |",
        "| steps | 12,345 of 4 texts |",
        "| tokens seen | 5,678,901 |",
        "| time | 1.5 h |",
        "| machine | cpu, AVX2, 4 threads, float32, PyTorch 2.13 |",
        "| seed | 7 |",
        "On 1,024 held-out texts, after step 12,000:",
        "| next token, exact | 2.500 nats/token |",
        "| bound on the negative log-likelihood, the whole text as one block | 3.142 nats/token |",
        "| the same | 1.500 bits/byte |",
        "| bound on the negative log-likelihood, blocks of 4 | 2.710 nats/token |",
        "| what the right prompt is worth | 0.250 nats/token |",
    ):
        assert f"{row}\n" in text
    assert "ann" not in text


def test_one_thread_is_one_thread() -> None:
    environment = {**RECORD.trainer["environment"], "threads": 1}
    assert "| machine | cpu, AVX2, 1 thread, float32, " in card(trainer={"environment": environment})


def test_what_is_not_known_is_not_told() -> None:
    text = card(license=None, trainer={}, figures={})
    for word in ("size of the data", "hash of the data", "tokens seen", "| time", "machine", "## Figures"):
        assert word not in text and word in card()
    assert "| license of the data | not known; ask who made this model before you use it |" in text
    text = card(figures={**FIGURES, "proven": 0})
    assert "| canvas cross-entropy, the whole text as one block | 3.142 nats/token |" in text
    assert "negative log-likelihood" not in text


def test_a_model_without_prompts_says_so() -> None:
    text = card(samples=SAMPLES[1:], config=with_fields(prompt_length=0))
    assert "up to 96 tokens; no prompts |" in text and "- It takes no prompts." in text
    assert "what the right prompt" not in text and "does not chat" not in text
    assert (
        "sunfish sample checkpoints/robots --seed 1 --device cpu\n" in text
        and "pipeline(guidance_scale=0, seed=1)" in text
    )


def test_a_corpus_of_ones_own_is_named_without_its_folder() -> None:
    text = card(config=with_fields(data="/home/ann/tales.txt"))
    assert "| data | `tales.txt` |" in text and "/home" not in text
    assert "- It writes texts like its corpus and nothing else." in text


def test_samples_stand_by_the_command_that_gives_them() -> None:
    tricky = Sample("it's $HOME `x`", 3, "a ```` fence\x1b[31m")
    text = card(samples=[*SAMPLES, tricky])
    assert (
        "```bash\nsunfish sample checkpoints/robots --prompt 'Write about dogs' --seed 0 --device cpu\n```\n\n"
        "```text\nA dog ran home.\n```" in text
    )
    assert (
        "```bash\nsunfish sample checkpoints/robots --seed 1 --device cpu\n```\n\n```text\nIt slept.\n```"
        in text
    )
    assert """--prompt 'it'"'"'s $HOME `x`' --seed 3""" in text
    assert "`````text\na ```` fence\\x1b[31m\n`````" in text
    assert "sunfish infill checkpoints/robots --text 'A dog ran [MASK]'\n" in text
    assert "(an empty text)" in card(samples=[Sample("", 0, "")])
    program = card(samples=[tricky]).split("```python\n")[1].split("```")[0]
    compile(program, "card", "exec")


@pytest.mark.parametrize(
    ("prompt", "call"),
    [
        ("Write about dogs", '"Write about dogs"'),
        ("Tell me, isn't it late-ish?", '"Tell me, isn\'t it late-ish?"'),
        ('Say "no"', "'Say \"no\"'"),
        ("a\\b", "'a\\\\b'"),
        ("", "guidance_scale=0"),
    ],
)
def test_a_prompt_is_quoted_as_python_reads_it(prompt: str, call: str) -> None:
    assert (
        f"pipeline({call}, "
        in card(samples=[Sample(prompt, 0, "A dog.")]).split("```python\n")[1].split("```")[0]
    )


def test_a_name_cannot_break_the_page() -> None:
    text = card(config=with_fields(name="a`b|c"))
    assert "\n# a'b/c\n" in text


def test_licenses() -> None:
    own = with_fields(data="tales.txt")
    assert check_license(None, RECORD.config) == "mit"
    assert check_license(None, own) is None
    assert check_license("cc-by-4.0", own) == "cc-by-4.0"
    for wrong in ("", "MIT", "a b", "mit\nx: y", "-x"):
        with pytest.raises(UsageError, match=r"the license is .*; give its identifier on the hub"):
            check_license(wrong, own)


def test_a_run_that_can_be_resumed_says_how() -> None:
    said = "\n\nTo continue its training: `sunfish train --resume checkpoints/robots`.\n\n## Training"
    assert said in model_card(RECORD, SAMPLES, "user/robots", "mit", resumable=True) and said not in card()
