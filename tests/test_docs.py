"""Every command in the guides runs: training is resolved, sampling and checks are done on a tiny checkpoint."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sunfish.cli import COMMANDS, main, parse
from sunfish.config.presets import PRESETS, preset
from sunfish.model.transformer import count_parameters
from tests.conftest import ROOT, Workplace

PAGES = (
    "README.md",
    "QUICKSTART.md",
    "TRAINING_GUIDE.md",
    "PROMPT_CONDITIONING.md",
    "docs/model.md",
    "docs/processes.md",
    "docs/sampling.md",
    "docs/training.md",
    "docs/data.md",
    "docs/serving.md",
    "docs/page.md",
    "docs/sharing.md",
    "docs/export.md",
    "docs/containers.md",
    "docs/contributing.md",
)
INLINE = re.compile(r"^\| `(\./[^`]+)` \|", re.M)
FENCED = re.compile(r"```bash\n(.*?)```", re.S)
# What a command is given on top, to take seconds and to leave the shared checkpoint as it is.
SHORTER = {
    "distill-guidance": ["--print-config"],
    "bench": ["--texts", "1", "--scales", "1", "--no-write"],
}
# Tested as whole programs elsewhere: tests/test_scripts.py, and the run of this very suite.
WHOLE = ("./run_tests.sh", './run_tests.sh -m "not slow"', "bash .ci/run", "./run.sh test_cfg.py")
# Requests to a server, and the token of one: tests/serving/http/test_page.py.
SERVED = ("curl ", "python3 -c")
# Tested against a hub and as a server: tests/sharing and tests/commands/test_serve.py.
ELSEWHERE = ("push", "pull", "serve")
# Commands for what a page has the reader add first.
ADDED = ("--sampler rightmost",)


def commands() -> list[str]:
    """All commands of the pages, comments cut off, each once."""
    found: dict[str, None] = {}
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        lines = INLINE.findall(text) + [line for block in FENCED.findall(text) for line in block.splitlines()]
        found.update({line.split("  #")[0].strip(): None for line in lines if line.strip()})
    return list(found)


@pytest.fixture(scope="module")
def workplace(trained: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user's: checkpoints/last.ckpt and some text of their own."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "checkpoints").symlink_to(trained.folder / "checkpoints")
    (folder / "tales.txt").write_text("\n\n".join(f"The fox number {i} ran away." for i in range(30)))
    (folder / "reviews.jsonl").write_text('{"label": "good", "text": "A fine film."}\n' * 30)
    (folder / "facts.csv").write_text("question,text\n" + "Why?,Because.\n" * 30)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_a_documented_command(command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    monkeypatch.chdir(workplace)
    if command.startswith(SERVED):
        return
    if command in WHOLE:
        files = [word for word in words if "/" in word or word.endswith(".py")]
        assert files and all((ROOT / word).is_file() for word in files)
    elif any(added in command for added in ADDED):
        assert main([*words[1:2], "--help"]) == 0 if words[1] != "sample.py" else True
    elif words[0] == "./start_training.sh":
        assert words[1:] in ([], *([size] for size in PRESETS))
    elif words[:2] == ["./run.sh", "train.py"]:
        assert main(["train", *words[2:], "--print-config"]) == 0
    elif words[:2] == ["./run.sh", "sample.py"]:
        # The tiny checkpoint has a context of 96; everything else is as written.
        rest = re.sub(r"--seq_len 128", "--seq_len 64", shlex.join(words[2:]))
        assert main(["sample", *shlex.split(rest)]) == 0
    elif words[:3] == ["./run.sh", "-m", "sunfish"] and words[3] in ELSEWHERE:
        assert parse(words[3:]).command == words[3]
    elif words[:3] == ["./run.sh", "-m", "sunfish"]:
        assert words[3] in COMMANDS
        assert main([*words[3:], *SHORTER.get(words[3], [])]) == 0
    elif words[1].startswith("benchmarks/"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, str(ROOT / words[1]), "--help"], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        flags = [word for word in words[2:] if word.startswith("--")]
        assert all(flag in done.stdout for flag in flags)
    else:
        pytest.fail(f"no test knows how to run {command!r}")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "from sunfish import" in (ROOT / page).read_text()]
)
def test_the_programs_in_the_guides_run(
    page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)
    programs = [block for block in blocks if "from sunfish import" in block]
    assert programs
    for program in programs:
        exec(compile(program, page, "exec"), {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("page", PAGES)
def test_the_guides_name_files_that_exist(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (folder / target).exists(), f"{page} links to {target}"


SIZE_ROW = re.compile(r"^\| `(\w+)` \| ([\d.]+) ([MB]) \| (\d+), ([\d,]+) \|", re.M)


def test_the_size_table_is_what_the_presets_are() -> None:
    rows = SIZE_ROW.findall((ROOT / "TRAINING_GUIDE.md").read_text(encoding="utf-8"))
    assert [row[0] for row in rows] == list(PRESETS)
    for name, figure, unit, layers, width in rows:
        model = preset(name).model
        assert (int(layers), int(width.replace(",", ""))) == (model.n_layer, model.n_embd), name
        digits = len(figure.partition(".")[2])
        assert f"{count_parameters(model) / {'M': 1e6, 'B': 1e9}[unit]:.{digits}f}" == figure, name


@pytest.mark.parametrize("page", ["README.md", "QUICKSTART.md"])
def test_sizes_in_running_text_are_what_the_presets_are(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)` (?:\()?([\d.]+) ([MB])\b", text)
    assert named
    for name, figure, unit in named:
        parameters = count_parameters(preset(name).model) / {"M": 1e6, "B": 1e9}[unit]
        assert f"{parameters:.{len(figure.partition('.')[2])}f}" == figure, (page, name)
