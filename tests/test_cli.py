"""The command line: flags, exit codes, streams, and what each subcommand prints."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from sunfish.cli import COMMANDS, main
from sunfish.commands import sizes
from sunfish.config import Config, GenerationConfig
from sunfish.config.presets import PRESETS, preset
from tests.conftest import TINY, Workplace, python


def test_help_imports_no_torch() -> None:
    commands = [["--help"], ["train", "--help-all"], *([name, "--help"] for name in COMMANDS)]
    code = (
        "import sys\nfrom sunfish.cli import main\n"
        f"for words in {commands!r}:\n"
        "    assert main(words) == 0, words\n"
        "    heavy = {'torch', 'numpy', 'tokenizers', 'rich', 'yaml'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)\n"
    )
    result = python("-c", code)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: sunfish")
    assert result.stdout.count("\nusage: sunfish") == len(commands) - 1


def test_without_a_command_it_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "usage" in captured.err


def test_the_defaults_that_help_shows_are_those_of_a_run_without_flags(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    config = preset("micro")
    for field, default in (
        ("learning-rate", config.training.learning_rate),
        ("max-minutes", config.training.max_minutes),
    ):
        helped = shown.split(f" --{field} FLOAT ")[1]
        assert helped[: helped.index(" --")].endswith(f"({default})")


def test_print_config_resolves_flags(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--config tiny --n_layer 3 --block-lengths 4 0 --cpu --compile --name mine"
    assert main(["train", *words.split(), "--print-config"]) == 0
    wanted = preset("tiny", n_layer=3, block_lengths=(4, 0), device="cpu", compile=True, name="mine")
    assert Config.from_dict(json.loads(capsys.readouterr().out)) == wanted


def test_a_folder_may_begin_with_the_home_of_the_user(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    words = ["train", "--checkpoints=~/runs", "--data_folder", "~/corpora", "--print-config"]
    assert main(words) == 0
    config = Config.from_dict(json.loads(capsys.readouterr().out))
    assert config.training.checkpoints == "/home/someone/runs"
    assert config.corpus.data_folder == "/home/someone/corpora"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["train", "--n_layrs", "3"], "--n-layer"),
        (["train", "--mlp_ratio", "3"], "--set model.mlp_ratio=VALUE"),
        (["train", "--n_layer", "0"], "n_layer is 0"),
        (["train", "--n_layer", "three"], "--n-layer"),
        (["train", "--config", "huge"], "micro"),
        (["train", "--seed", "-1"], "seed is -1, but it must be at least 0"),
        (["train", "--name", ".."], "name is '..'"),
        (["train", "--name", "--cpu"], "--name=--cpu"),
        (["train", "--name=--cpu"], "name is '--cpu'"),
        (["train", "--text_field", "body"], "which has no effect where data is stories"),
        (["data", "--show", "-1"], "show is -1"),
        (["tokenizer", "--load", "a.json", "--out", "b.json"], "give one of the two"),
        (["sample", "--num_steps", "0"], "num_steps is 0"),
        (["sample", "--num_samples", "0"], "num_samples is 0"),
        (["sample", "--seed", "-1"], "seed is -1"),
        (["sample", "--watch", "--num_samples", "2"], "--watch shows one text, but 2"),
        (["sample", "--prompt", "x", "--guidance_scale", "-1"], "guidance_scale is -1"),
        (
            ["sample", "--prompt", "x", "--guidance_scale", "1", "--plausibility", "0.1"],
            "plausibility is 0.1",
        ),
        (["sample", "--sampler", "best"], "sampler is 'best'; the samplers are: "),
        (["infill", "--text", "A [MASK].", "--sampler", "prefix:2"], "give prefix a number from 0 to 1"),
        (["sample", "--sampler", "verified", "--num_steps", "20"], "which has no denoising steps"),
        (["sample", "--scheduler", "ddim", "--sampler", "ddpm"], "give one of the two"),
        (["sample", "--lenience", "0.5", "--num_steps", "4"], "lenience is 0.5"),
        (["sample", "--block_length", "0", "--num_steps", "4", "--compile"], "block_length is 0"),
        (["sample", "--also", "y", "0.5"], "give one with --prompt"),
        (["sample", "--prompt", "x", "--also", "y", "much"], "has weight 'much'"),
        (["sample", "--prompt", "x", "--also", "y", "-1"], "is -1"),
        (["sample", "--mode", "infill"], "--text"),
        (["sample", "--text", "x"], "--mode infill"),
        (["sample", "--mode", "infill", "--text", "A [MASK].", "--compile"], "which do not use --compile"),
        (
            ["sample", "--mode", "infill", "--text", "A [MASK].", "--block_length", "4"],
            "leave out block_length",
        ),
        (["infill", "--text", "A [MASK].", "--seed", "-1"], "seed is -1"),
        (["infill", "--text", "no gap"], "[MASK]"),
        (["infill"], "--file"),
        (["infill", "--text", "A [MASK].", "--particles", "0"], "particles is 0"),
        (["edit", "--replace", "x"], "--file"),
        (["edit", "--text", "A fox."], "nothing is to be replaced"),
        (["edit", "--text", "A fox.", "--replace", "dog"], "is not in the text"),
        (["edit", "--text", "A fox.", "--range", "2-5"], "--range is '2-5'; give START:END"),
        (["edit", "--text", "A fox.", "--range", "2:9"], "the range 2:9"),
        (["edit", "--text", "A fox.", "--range", "2:5", "--particles", "1025"], "particles is 1025"),
        (["edit", "--text", "A fox.", "--range", "2:5", "--num-samples", "65"], "num_samples is 65"),
        (["dance"], "train"),
        (["sizes", "--quick", "--device", "tpu"], "device is 'tpu'"),
    ],
)
def test_wrong_use_is_2_and_says_what_to_do(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: " in captured.err and hint in captured.err and "Traceback" not in captured.err


@pytest.mark.parametrize(("stop", "code"), [(SystemExit(), 0), (SystemExit(3), 3), (SystemExit("no"), 1)])
def test_a_command_may_end_the_program(monkeypatch: pytest.MonkeyPatch, stop: SystemExit, code: int) -> None:
    def run(arguments: argparse.Namespace) -> int:
        raise stop

    monkeypatch.setattr(sizes, "run", run)
    assert main(["sizes"]) == code


def test_failures_are_one_line_and_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, text, folder = tmp_path / "empty.ckpt", tmp_path / "text.ckpt", tmp_path / "folder"
    old = tmp_path / "old.ckpt"
    empty.write_bytes(b"")
    text.write_text("hello")
    folder.mkdir()
    torch.save({"model": {}}, old)
    for path, found in (
        (tmp_path / "none", "there is no checkpoint"),
        (empty, "an empty file"),
        (text, "a file of another kind"),
        (folder, "a folder that holds nothing"),
        (old, "checkpoints_old_architecture/"),
    ):
        for words in (
            ["sample", str(path)],
            ["infill", str(path), "--text", "a [MASK]"],
            ["train", "--resume", str(path)],
        ):
            assert main(words) == 1
            captured = capsys.readouterr()
            assert captured.out == "" and found in captured.err
            assert captured.err.startswith("error: ") and captured.err.count("\n") == 1


def test_debug_keeps_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUNFISH_DEBUG", "1")
    with pytest.raises(ValueError, match="there is no checkpoint"):
        main(["sample", str(tmp_path / "none")])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["sample", "--best_of", "0"], "best_of is 0"),
        (["sample", "--best_of", "2"], "best_of is 2"),
        (["sample", "--seq_len", "1"], "seq_len is 1, but a text has at least 2 positions"),
        (["infill", "--text", "A [MASK:9999]."], "shorten it"),
        (["edit", "--text", "A fox.", "--replace", "fox", "--scheduler", "ddim"], "sampler is ddim"),
    ],
)
def test_wrong_use_of_a_checkpoint_is_2(
    trained: Workplace, words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([words[0], str(trained.checkpoint), *words[1:], "--cpu"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and hint in captured.err


def test_the_settings_of_sampling_reach_the_pipeline(
    trained: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt is guided, no prompt is not; steps alone choose the process's own sampler."""
    from sunfish.sampling.pipeline import Pipeline

    seen: list[GenerationConfig] = []
    monkeypatch.setattr(Pipeline, "generate", lambda self, rows, config, **_: seen.append(config) or [])
    for words in (
        ["--prompt", "x"],
        [],
        ["--num_steps", "3"],
        ["--scheduler", "ddim"],
        ["--negative_prompt", "cats"],
        ["--set", "generation.lenience=0.5", "--prompt", "x"],
        ["--prompt", "x", "--also", "y z", "0.5", "--also", "w", "2"],
    ):
        assert main(["sample", str(trained.checkpoint), "--cpu", *words]) == 0
    default = GenerationConfig()
    assert seen[0] == default
    assert seen[1] == replace(default, guidance_scale=0.0)
    assert (seen[2].num_steps, seen[2].is_verified, seen[2].guidance_scale) == (3, False, 0.0)
    assert seen[3].sampler == "ddim"
    assert (seen[4].negative_prompt, seen[4].guidance_scale) == ("cats", default.guidance_scale)
    assert seen[5] == replace(default, lenience=0.5)
    assert seen[6] == replace(default, composed_prompts=(("y z", 0.5), ("w", 2.0)))


def test_sample_without_and_with_prompts(trained: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["sample", str(trained.checkpoint), "--seq_len", "12", "--num_steps", "2", "--cpu"]
    assert main([*common, "--num_samples", "2"]) == 0
    captured = capsys.readouterr()
    assert "--- 2 of 2" in captured.out
    assert "did not finish within 12 positions" in captured.err and "--seq_len" in captured.err
    prompts = trained.folder / "prompts.txt"
    prompts.write_text("Write about dogs\n\nDescribe the ocean\n")
    flags = [
        "--prompt",
        "Write a story about a robot",
        "--prompt-file",
        str(prompts),
        "--guidance_scale",
        "7.0",
    ]
    assert main([*common, *flags, "--num_samples", "2", "--json"]) == 0
    captured = capsys.readouterr()
    texts = json.loads(captured.out)
    assert [text["prompt"] for text in texts] == [
        p for p in ("Write a story about a robot", "Write about dogs", "Describe the ocean") for _ in range(2)
    ]
    assert all(text["tokens"] <= 11 for text in texts)
    assert main([*common, "--guidance_scale", "7"]) == 0
    assert "guidance needs a prompt" in capsys.readouterr().err


def test_the_same_seed_writes_the_same(trained: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["sample", str(trained.checkpoint), "--seq_len", "12", "--num_steps", "2", "--cpu", "--seed"]
    texts = []
    for seed in ("1", "1", "2"):
        assert main([*common, seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.slow
def test_infill_keeps_the_given_words(trained: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    text = "The robot went to the [MASK] and fell asleep."
    file = trained.folder / "gap.txt"
    file.write_text(text + "\n")
    for words in (
        ["sample", str(trained.checkpoint), "--mode", "infill", "--text", text],
        ["infill", str(trained.checkpoint), "--text", text],
        ["infill", str(trained.checkpoint), "--file", str(file), "--prompt", "Write about a robot"],
    ):
        assert main([*words, "--num_steps", "2", "--cpu", "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert found["text"].startswith("The robot went to the") and found["text"].endswith(
            " and fell asleep."
        )
        assert "[MASK]" not in found["text"]


def test_data_and_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pets.jsonl"
    rows = [
        {"body": f"The {pet} number {i} sleeps all day.", "kind": pet}
        for i in range(80)
        for pet in ("cat", "dog")
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    source = ["--data", str(file), "--text-field", "body", "--prompt-template", "Write about a {kind}"]
    source += ["--vocab-size", "300"]
    words = ["data", *source, "--data_folder", str(tmp_path / "data"), "--show", "2"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n> Write about a ") == 2 and "sleeps all day." in captured.out
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["examples"]) == 2 and found["manifest"]["splits"]["train"]["rows"] > 100
    out = tmp_path / "new" / "tokenizer.json"
    assert main(["tokenizer", *source, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] <= 300
    assert main(["tokenizer", "--load", str(out), "--encode", "The cat sleeps", "--json"]) == 0
    assert "".join(json.loads(capsys.readouterr().out)["tokens"]) == "The cat sleeps"
    assert main(["data", "--data", str(tmp_path / "absent.jsonl")]) == 1
    assert "absent.jsonl" in capsys.readouterr().err


@pytest.mark.slow
def test_sizes_and_doctor(trained: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sizes", "--quick"]) == 0
    assert "micro" in capsys.readouterr().out
    assert main(["sizes", "--quick", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(PRESETS)
    folders = ["--checkpoints", str(trained.checkpoint.parent), "--data-folder", str(trained.folder / "data")]
    assert main(["doctor", "--json", *folders]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["checkpoint"]["state"] == "ok" and "step 3" in checks["checkpoint"]["found"]
    assert all(check["remedy"] for check in checks.values() if check["state"] == "problem")


def test_resume_continues_and_refuses_another_shape(
    trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resume = ["train", "--config", "micro", "--cpu", "--resume", str(trained.checkpoint)]
    for words, field in (
        (["--n_layer", "2"], "n_layer"),
        (["--seed", "1"], "seed"),
        (["--tokenizer", "bytes"], "tokenizer"),
    ):
        assert main([*resume, *words]) == 2
        assert f"{field} is " in capsys.readouterr().err
    assert main([*resume, "--max_steps", "4", "--print-config"]) == 0
    captured = capsys.readouterr()
    config = Config.from_dict(json.loads(captured.out))
    assert (config.training.max_steps, config.model.n_embd, config.training.name) == (4, 16, "trained")
    assert "does not have the shape of --config micro" in captured.err
    shape = [f"--set=model.{name}={value}" for name, value in asdict(config.model).items()]
    assert main([*resume, *shape, "--print-config"]) == 0  # the command of the first start
    assert "does not have the shape" not in capsys.readouterr().err
    assert main([*resume, "--max_steps", "5", "--checkpoints", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip().endswith("step-0000005")
    assert "from step 3" in captured.err


def test_other_text_may_have_other_fields_when_it_is_given(
    trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resume = ["train", "--resume", str(trained.checkpoint), "--print-config"]
    data = ["--data", str(tmp_path / "new.jsonl"), "--text_field", "body"]
    assert main([*resume, *data]) == 0
    assert json.loads(capsys.readouterr().out)["corpus"]["text_field"] == "body"
    for words in (data[2:], [*data, "--tokenizer", "bytes"], [*data, "--vocab_size", "300"]):
        assert main([*resume, *words]) == 2
        assert "was trained with" in capsys.readouterr().err


def test_resume_auto_takes_the_run_of_this_size(
    trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *TINY, "--resume", "auto", "--print-config", "--checkpoints"]
    folder = str(trained.checkpoint.parent)
    for flags, name, said in (
        ([folder], "trained", "resuming"),
        ([folder, "--n_layer", "2"], "nano", "it is kept"),
        ([folder, "--name", "mine"], "mine", "it is kept"),
        ([str(tmp_path)], "nano", ""),
    ):
        assert main([*words, *flags]) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out)["training"]["name"] == name
        assert said in captured.err


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_gives_its_exit_code(
    trained: Workplace, tmp_path: Path, signum: signal.Signals
) -> None:
    flags = [*TINY, "--max_steps", "1000000", "--set", "training.log_every=1", "--name", "long"]
    flags += ["--checkpoints", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "sunfish", "train", *flags, "--data_folder", str(trained.folder / "data")],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    begin = time.monotonic()
    for line in process.stderr:
        if line.startswith("step 2") or time.monotonic() - begin > 100:
            break
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, err
    assert "--resume" in err and "Traceback" not in err
    assert (tmp_path / "long" / "last.ckpt" / "model.safetensors").is_file()
