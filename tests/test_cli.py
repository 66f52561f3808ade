"""The command line: flags, exit codes, streams, and what each subcommand prints."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sunfish.cli import COMMANDS, build_parser, main
from sunfish.commands.flags import field_help, given_fields, kebab
from sunfish.commands.sampling_flags import DEFAULTS, GUIDANCE
from sunfish.config import Config
from sunfish.config.presets import preset
from sunfish.config.sampling import GUIDANCE_SCALE, SamplingSettings
from tests.conftest import TINY, Workplace, python


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_no_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom sunfish.cli import main\n"
        f"code = main({words!r})\n"
        "heavy = {'torch', 'numpy', 'tokenizers', 'rich', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    result = python("-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: sunfish")
    assert result.stderr == ""


def test_without_a_command_it_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "usage" in captured.err


def test_every_field_is_a_flag_with_help() -> None:
    parser = build_parser()
    helps = field_help()
    for group in dataclasses.fields(Config):
        for field in dataclasses.fields(getattr(Config(), group.name)):
            value = field.default
            words = [str(part) for part in value] if isinstance(value, tuple) else [str(value)]
            flag = [f"--{field.name}"] if isinstance(value, bool) else [f"--{field.name}", *words]
            arguments = parser.parse_args(kebab(["train", *flag]))
            assert given_fields(arguments)[field.name] == (True if isinstance(value, bool) else value)
            assert helps[field.name]


def test_the_defaults_that_help_shows_are_those_of_a_run_without_flags(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    config = preset("micro")
    for field, default in (
        ("mlp-ratio", config.model.mlp_ratio),
        ("max-minutes", config.training.max_minutes),
    ):
        helped = shown.split(f" --{field} FLOAT ")[1]
        assert helped[: helped.index(" --")].endswith(f"({default})")


def test_underscores_and_hyphens_are_one_flag_and_values_stay() -> None:
    assert kebab(["--n_layer", "a_b", "--data=a_b", "x_y"]) == ["--n-layer", "a_b", "--data=a_b", "x_y"]
    assert kebab(["--", "--n_layer"]) == ["--", "--n_layer"]


def test_sampling_flags_have_the_defaults_of_the_sampler() -> None:
    assert dataclasses.asdict(SamplingSettings()) == DEFAULTS
    assert GUIDANCE_SCALE == GUIDANCE


def test_print_config_resolves_flags(capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--config",
        "tiny",
        "--n_layer",
        "3",
        "--block-lengths",
        "4",
        "0",
        "--cpu",
        "--compile",
        "--name",
        "mine",
    ]
    assert main(["train", *flags, "--print-config"]) == 0
    wanted = preset("tiny", n_layer=3, block_lengths=(4, 0), device="cpu", compile=True, name="mine")
    assert Config.from_dict(json.loads(capsys.readouterr().out)) == wanted


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["train", "--n_layrs", "3"], "--n-layer"),
        (["train", "--n_layer", "0"], "n_layer is 0"),
        (["train", "--n_layer", "three"], "--n-layer"),
        (["train", "--config", "huge"], "micro"),
        (["sample", "--num_steps", "0"], "num_steps is 0"),
        (["sample", "--sampler", "best"], "confidence"),
        (["sample", "--num_samples", "0"], "num_samples is 0"),
        (["sample", "--prompt", "x", "--guidance_scale", "-1"], "guidance_scale is -1"),
        (["sample", "--mode", "infill"], "--text"),
        (["sample", "--text", "x"], "--mode infill"),
        (["sample", "--mode", "infill", "--text", "A [MASK].", "--compile"], "leave out --compile"),
        (["infill", "--text", "no gap"], "[MASK]"),
        (["infill"], "--file"),
        (["dance"], "train"),
    ],
)
def test_wrong_use_is_2_and_says_what_to_do(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: " in captured.err and hint in captured.err and "Traceback" not in captured.err


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
    assert main([*common, "--seq_len", "1"]) == 2
    assert "seq_len is 1, but a text has at least 2 positions" in capsys.readouterr().err


def test_the_same_seed_writes_the_same(trained: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["sample", str(trained.checkpoint), "--seq_len", "12", "--num_steps", "2", "--cpu", "--seed"]
    texts = []
    for seed in ("1", "1", "2"):
        assert main([*common, seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


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
    source = [
        "--data",
        str(file),
        "--text-field",
        "body",
        "--prompt-template",
        "Write about a {kind}",
        "--vocab-size",
        "300",
    ]
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


def test_sizes_and_doctor(trained: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sizes", "--quick"]) == 0
    assert "micro" in capsys.readouterr().out
    assert main(["sizes", "--quick", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == [
        "nano",
        "tiny",
        "small",
        "micro",
        "base",
        "full",
    ]
    folders = ["--checkpoints", str(trained.checkpoint.parent), "--data-folder", str(trained.folder / "data")]
    assert main(["doctor", "--json", *folders]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["checkpoint"]["state"] == "ok" and "step 3" in checks["checkpoint"]["found"]
    assert all(check["remedy"] for check in checks.values() if check["state"] == "problem")


def test_resume_goes_on_and_refuses_another_shape(
    trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resume = ["train", "--config", "micro", "--cpu", "--resume", str(trained.checkpoint)]
    for words, field in (
        (["--n_layer", "2"], "n_layer"),
        (["--data", "other.txt"], "data"),
        (["--seed", "1"], "seed"),
        (["--tokenizer", "bytes"], "tokenizer"),
    ):
        assert main([*resume, *words]) == 2
        assert f"{field} is " in capsys.readouterr().err
    assert main([*resume, "--max_steps", "4", "--print-config"]) == 0
    captured = capsys.readouterr()
    config = Config.from_dict(json.loads(captured.out))
    assert (config.training.max_steps, config.model.n_embd, config.training.name) == (4, 16, "trained")
    assert "not of the shape of --config micro" in captured.err
    assert main([*resume, "--max_steps", "5", "--checkpoints", str(tmp_path), "--sample_every", "100"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip().endswith("step-0000005")
    assert "from step 3" in captured.err


def test_resume_auto_takes_the_run_of_this_size(
    trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *TINY, "--resume", "auto", "--print-config", "--checkpoints"]
    folder = str(trained.checkpoint.parent)
    for flags, name, said in (
        ([folder], "trained", "going on with"),
        ([folder, "--n_layer", "2"], "nano", "it is kept"),
        ([folder, "--name", "mine"], "mine", "it is kept"),
        ([str(tmp_path)], "nano", ""),
    ):
        assert main([*words, *flags]) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out)["training"]["name"] == name
        assert said in captured.err


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_gives_its_exit_code(
    trained: Workplace, tmp_path: Path, signum: signal.Signals
) -> None:
    flags = [
        *TINY,
        "--max_steps",
        "1000000",
        "--log_every",
        "1",
        "--name",
        "long",
        "--checkpoints",
        str(tmp_path),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "sunfish", "train", *flags, "--data_folder", str(trained.folder / "data")],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
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
