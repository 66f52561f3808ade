"""push and pull: the same model arrives, nothing else leaves, and the card's commands give the card's texts."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sunfish.checkpoint.metadata import read_metadata
from sunfish.cli import main
from sunfish.config import Config, GenerationConfig
from sunfish.sampling.generation_config import read_generation_config, write_generation_config
from sunfish.sampling.pipeline import Pipeline
from sunfish.sharing.upload import upload
from sunfish.utils import visible
from tests.sharing.conftest import NAME
from tests.sharing.hub_server import TOKEN, Hub
from tests.tiny_checkpoint import CONFIG, write_checkpoint

MODEL = {"config.json", "model.safetensors", "tokenizer.json", "README.md"}
Capture = pytest.CaptureFixture[str]


def texts(checkpoint: str | Path, capsys: Capture) -> list[str]:
    """What sample and infill print for a checkpoint."""
    printed = []
    for words in (["sample", "--prompt", "a robot"], ["infill", "--text", "A robot [MASK:3] home."]):
        assert main([words[0], str(checkpoint), *words[1:], "--num-samples", "2", "--cpu", "--json"]) == 0
        printed.append(capsys.readouterr().out)
    return printed


def test_a_model_comes_back_as_it_was(hub: Hub, checkpoint: Path, capsys: Capture) -> None:
    assert main(["push", str(checkpoint), NAME]) == 0
    (sha,) = {hub.repositories[NAME].branches["main"]}
    assert capsys.readouterr().out == f"{hub.url}/{NAME}/commit/{sha}\n"
    assert hub.repositories[NAME].files().keys() == MODEL | {".gitattributes"}
    assert main(["pull", NAME]) == 0
    pulled = Path("checkpoints/robots")
    assert capsys.readouterr().out == f"{pulled}\n"
    assert {path.name for path in pulled.iterdir()} == MODEL
    assert not any(path.is_symlink() for path in pulled.iterdir())
    for name in ("model.safetensors", "tokenizer.json"):
        assert (pulled / name).read_bytes() == (checkpoint / name).read_bytes()
    assert texts(pulled, capsys) == texts(checkpoint, capsys)
    assert main(["distill-guidance", str(pulled), "--print-config"]) == 0
    assert main(["train", "--resume", str(pulled)]) == 1
    assert "can be sampled but not resumed" in capsys.readouterr().err


@pytest.mark.parametrize("prompt", ["Write a story about a fox", pytest.param("", marks=pytest.mark.slow)])
def test_the_commands_on_the_card_give_its_texts(
    hub: Hub, checkpoint: Path, capsys: Capture, prompt: str
) -> None:
    assert main(["push", str(checkpoint), NAME, "--prompt", prompt]) == 0
    card = hub.repositories[NAME].files()["README.md"].decode()
    usage, *commands = re.findall(r"```bash\n(.*?)\n```", card, re.S)
    for line in usage.splitlines():
        assert main(shlex.split(line)[1:]) == 0
    capsys.readouterr()
    written = re.findall(r"```text\n(.*?)\n```", card, re.S)
    assert len(commands) == len(written) == 2
    for command, text in zip(commands, written, strict=True):
        assert main(shlex.split(command)[1:]) == 0
        assert visible(capsys.readouterr().out) == text + "\n"
    (program,) = re.findall(r"```python\n(.*?)```", card, re.S)
    exec(compile(program, "README.md", "exec"), {})
    assert visible(capsys.readouterr().out) == written[0] + "\n"


def test_the_trainers_state_and_the_users_folders_stay(hub: Hub, tmp_path: Path) -> None:
    secret = "/home/alice/private"
    places = {"data": "letters.txt", "checkpoints": "runs", "data_folder": "corpora"}
    paths = {name: f"{secret}/{place}" for name, place in places.items()}
    config = CONFIG.with_fields(**paths, teacher="../alice/robots")
    checkpoint = write_checkpoint(tmp_path / "run" / "step-0000000", config)
    assert main(["push", str(checkpoint), NAME, "--prompt", "a robot"]) == 0
    content = hub.repositories[NAME].files()
    assert content.keys() == MODEL | {".gitattributes"}
    assert b"alice" in (checkpoint / "config.json").read_bytes()
    assert not any(b"alice" in part or b"private" in part for part in content.values())
    assert main(["pull", NAME, "copy"]) == 0
    copied = Config.from_dict(read_metadata(Path("copy"))["config"])
    folders = {"checkpoints": "./runs", "data_folder": "./corpora", "teacher": "./robots"}
    assert copied == config.with_fields(data="letters.txt", **folders)
    assert b"license: " not in content["README.md"] and b"| data | `letters.txt` |" in content["README.md"]


@pytest.mark.slow
def test_a_later_model_takes_the_place_of_the_earlier(
    hub: Hub, checkpoint: Path, tmp_path: Path, capsys: Capture
) -> None:
    tuned = Path(shutil.copytree(checkpoint, tmp_path / "tuned"))
    best = GenerationConfig(temperature=0.5)
    write_generation_config(tuned, {"best": best})
    assert main(["push", str(tuned), NAME]) == 0
    repository = hub.repositories[NAME]
    repository.commit({**repository.files(), "picture.png": b"png"})
    assert main(["pull", NAME, "first"]) == 0
    assert read_generation_config(Path("first")) == best
    assert main(["push", str(checkpoint), NAME]) == 0
    assert repository.files().keys() == MODEL | {".gitattributes", "picture.png"}
    capsys.readouterr()
    assert main(["pull", NAME, "second"]) == 0
    assert read_generation_config(Path("second")) == GenerationConfig()
    assert "not read from user/robots: 'picture.png'" in capsys.readouterr().err


def test_a_revision_is_a_branch(hub: Hub, checkpoint: Path, folder: Path, capsys: Capture) -> None:
    assert main(["push", str(checkpoint), NAME, "--revision", "draft", "--license", "cc-by-4.0"]) == 0
    upload(folder, NAME, revision="draft")  # the branch is there already
    assert hub.repositories[NAME].files().keys() == {".gitattributes"}
    draft = hub.repositories[NAME].files("draft")
    assert draft.keys() == MODEL | {".gitattributes"} and b"\nlicense: mit\n" in draft["README.md"]
    *_, earlier, _ = hub.repositories[NAME].commits.values()
    assert b"\nlicense: cc-by-4.0\n" in earlier["README.md"]
    assert main(["pull", NAME]) == 1
    assert f"{NAME} is no model of SunFish: it has no config.json" in capsys.readouterr().err
    commit = hub.repositories[NAME].branches["draft"]
    for number, revision in enumerate(("draft", commit)):
        assert main(["pull", NAME, f"copy{number}", "--revision", revision]) == 0
        assert Path(f"copy{number}/model.safetensors").read_bytes() == draft["model.safetensors"]


def test_private_is_private_or_refused(hub: Hub, checkpoint: Path, folder: Path) -> None:
    assert main(["push", str(checkpoint), "user/mine", "--private"]) == 0
    assert hub.repositories["user/mine"].private
    upload(folder, "user/mine", private=True)
    hub.add("user/open", {"notes.md": b"public"})
    hub.requests.clear()
    with pytest.raises(ValueError, match="user/open exists and is public; make it private in its settings"):
        upload(folder, "user/open", private=True)
    assert hub.repositories["user/open"].files().keys() == {"notes.md"}
    assert not [line for line in hub.requests if "commit" in line or "PUT" in line]


def test_a_pull_goes_to_an_empty_place_whole_or_not_at_all(
    shared: Hub, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for folder, code in (("full", 1), ("full/note.txt", 1), ("empty", 0)):
        assert main(["pull", NAME, folder]) == code
        assert code == 0 or f"{folder} exists already; delete it" in capsys.readouterr().err
    assert (tmp_path / "full" / "note.txt").read_text() == "mine"
    shared.fail("GET /api/models", 500)
    assert main(["pull", NAME, "new"]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "empty", "full"]


def test_no_other_command_asks_the_hub(shared: Hub, capsys: Capture) -> None:
    for words in (["sample", NAME], ["infill", NAME, "--text", "a [MASK]"], ["train", "--resume", NAME]):
        assert main(words) == 1
        assert f"there is no checkpoint at {NAME}" in capsys.readouterr().err
    with pytest.raises(ValueError, match="there is no checkpoint"):
        Pipeline.from_checkpoint(NAME)
    assert shared.requests == []


def test_large_files_are_sent_once(shared: Hub, folder: Path) -> None:
    upload(folder, "user/copy")
    assert not [line for line in shared.requests if line.startswith("PUT")]  # the hub has them by their hash
    for _ in range(2):
        Pipeline.from_pretrained("user/copy")
    assert sum(line.startswith("GET /cdn/") for line in shared.requests) == 1


@pytest.mark.slow
def test_the_environment_names_the_hub_and_the_token(shared: Hub, tmp_path: Path) -> None:
    shared.repositories[NAME].private = True
    given = {"HF_ENDPOINT": shared.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "sunfish", "pull", NAME, "copy"],
        env={**os.environ, **given, "HF_TOKEN": TOKEN},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "copy\n", "")
    assert json.loads((tmp_path / "copy" / "config.json").read_text())["step"] == 3
