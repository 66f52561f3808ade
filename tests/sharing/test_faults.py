"""What goes wrong between here and a hub: one line says it, and nothing wrong is loaded or left behind."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from sunfish.cli import main
from sunfish.hub import Unreachable, client, hub_errors
from sunfish.sampling.pipeline import Pipeline
from sunfish.sharing import download
from sunfish.sharing.download import fetch
from sunfish.sharing.upload import upload
from tests.sharing.conftest import NAME
from tests.sharing.hub_server import Files, Hub

Patch = pytest.MonkeyPatch
WEIGHTS = "GET /cdn/"


def half(body: bytes) -> bytes:
    """The first half."""
    return body[: len(body) // 2]


def flipped(body: bytes) -> bytes:
    """The body with its last bit turned."""
    return body[:-1] + bytes([body[-1] ^ 1])


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "", "does not accept the token; set HF_TOKEN to a token that is valid (HTTP status 401)"),
        (403, "", "does not permit this; set HF_TOKEN to a token that may do it"),
        (404, "RepoNotFound", f"shows no {NAME}; check the name, or set HF_TOKEN"),
        (404, "RevisionNotFound", f"{NAME} has no revision 'draft'; give a branch, a tag or a commit"),
        (403, "GatedRepo", f"{NAME} is gated; accept its conditions at "),
        (418, "", "refuses this (HTTP status 418)"),
        (429, "", "has had too many requests; wait a few minutes and try again (HTTP status 429)"),
        (500, "", "fails; try again later (HTTP status 500)"),
        (503, "", "fails; try again later (HTTP status 503)"),
    ],
)
@pytest.mark.parametrize("line", ["GET /api/models/", "HEAD .*/config.json", "GET .*/config.json", WEIGHTS])
def test_what_a_hub_refuses(shared: Hub, line: str, status: int, code: str, said: str) -> None:
    headers = (
        {"X-Error-Code": code} if code else {"X-Error-Message": "Invalid credentials in Authorization header"}
    )
    shared.repositories[NAME].branches["draft"] = shared.repositories[NAME].branches["main"]
    shared.fail(line, status, headers)
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        fetch(NAME, revision="draft")
    assert str(raised.value).count("\n") == 0 and len(str(raised.value)) < 250


def test_a_repository_for_some_asks_for_a_token(shared: Hub, monkeypatch: Patch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    shared.repositories[NAME].gated = True
    with pytest.raises(
        ValueError, match=r"is gated; accept its conditions at http.*/user/robots, then set HF_TOKEN"
    ):
        fetch(NAME)
    shared.repositories[NAME].private = True
    with pytest.raises(ValueError, match="shows no user/robots; check the name, or set HF_TOKEN"):
        fetch(NAME)
    assert fetch(NAME, token="hf_token_of_user").files


def test_a_connection_that_is_cut_is_taken_up_again(shared: Hub, files: Files) -> None:
    shared.fail(WEIGHTS, body=half, times=2)
    snapshot = fetch(NAME)
    assert snapshot.files["model.safetensors"].read_bytes() == files["model.safetensors"]
    assert sum(line.startswith(WEIGHTS) for line in shared.requests) == 3


@pytest.mark.parametrize("body", [half, lambda body: b""])
def test_a_connection_that_stays_cut_leaves_nothing(shared: Hub, body: Callable[[bytes], bytes]) -> None:
    shared.fail(WEIGHTS, body=body)
    with pytest.raises(ValueError, match=r"cannot be reached|was not transferred whole"):
        fetch(NAME)
    shared.faults.clear()
    assert main(["pull", NAME, "robots"]) == 0


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_file_with_another_hash_is_refused_and_sent_again(shared: Hub, files: Files, name: str) -> None:
    shared.fail(WEIGHTS if name.endswith("safetensors") else f"GET .*/{name}", body=flipped)
    said = "config.json is damaged" if name == "config.json" else f"{name} is damaged \\(its hash"
    for _ in range(2):
        with pytest.raises(ValueError, match=f"{NAME}.*{said}"):
            fetch(NAME)
    shared.faults.clear()
    assert fetch(NAME).files[name].read_bytes() == files[name]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_an_author_who_commits_half_a_file_is_told(hub: Hub, files: Files, name: str) -> None:
    hub.add(NAME, {**files, name: half(files[name])})
    with pytest.raises(ValueError, match=f"{NAME}.*{name} is damaged"):
        fetch(NAME)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_what_is_no_model_is_not_asked_for(hub: Hub, files: Files, name: str) -> None:
    hub.add(NAME, {key: value for key, value in files.items() if key != name})
    with pytest.raises(ValueError, match=f"{NAME} is no model of SunFish: it has no {name}"):
        fetch(NAME)
    assert hub.requests == [f"GET /api/models/{NAME}"]


class Bomb:
    """A pickle of it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.mark, "run")


def test_nothing_else_of_a_repository_is_read(shared: Hub, files: Files, tmp_path: Path, capsys: Any) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "mark"))
    names = ("pytorch_model.bin", "trainer/state.pt", "../x", "../../x", "/tmp/x", "modeling.py", "..\\x")
    shared.add(NAME, {**files, **dict.fromkeys(names, bomb)})
    assert main(["pull", NAME, "robots"]) == 0
    assert (
        "note: not read from user/robots: '../../x', '../x', '..\\\\x' and 4 more" in capsys.readouterr().err
    )
    assert {path.name for path in (tmp_path / "robots").rglob("*")} == files.keys()
    asked = {line.rpartition("/")[2] for line in shared.requests if "/resolve/" in line}
    assert asked == files.keys()
    Pipeline.from_pretrained(NAME)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "robots"]
    assert pickle.loads(bomb) and (tmp_path / "mark").read_text() == "run"  # it is a bomb indeed


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.json", "generation_config.json"]
)
def test_a_pickle_by_another_name_is_not_run(hub: Hub, files: Files, tmp_path: Path, name: str) -> None:
    hub.add(NAME, {**files, name: pickle.dumps(Bomb(tmp_path / "mark"))})
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        Pipeline.from_pretrained(NAME)
    assert not (tmp_path / "mark").exists()


def test_sizes_are_compared_before_anything_is_sent(shared: Hub, files: Files, monkeypatch: Patch) -> None:
    size = sum(map(len, files.values()))
    monkeypatch.setattr(download, "free_disk", lambda folder: size - 1)
    with pytest.raises(ValueError, match=r"needs 0 MiB, but the disk of the cache has 0 MiB free; make room"):
        fetch(NAME)
    monkeypatch.setattr(download, "free_disk", lambda folder: size + 2**20)
    shared.add(NAME, {**files, "README.md": b"x" * (2**20 + 1)})
    with pytest.raises(
        ValueError, match=r"README.md has 1,048,577 bytes, but a real one has at most 1,048,576"
    ):
        fetch(NAME)
    assert {line.split()[1] for line in shared.requests} == {f"/api/models/{NAME}"}
    shared.add(NAME, {**files, "README.md": b"x" * 2**20})
    fetch(NAME)


def test_without_a_network_the_cache_is_used_and_named(shared: Hub, monkeypatch: Patch, capsys: Any) -> None:
    first = fetch(NAME)
    commit = shared.repositories[NAME].branches["main"]
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert fetch(NAME) == fetch(NAME, revision=commit) == fetch(NAME, local_files_only=True) == first
    noted = capsys.readouterr().err.splitlines()
    assert len(noted) == 2 and all(
        re.fullmatch(
            r"note: http://127.0.0.1:9 cannot be reached \(.+\); check the network, or HF_ENDPOINT\. The copy of "
            rf"{NAME} in the cache is used, commit {commit[:8]}",
            line,
        )
        for line in noted
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(NAME) == first
    assert "note: HF_HUB_OFFLINE is set; unset it to reach the hub. The copy" in capsys.readouterr().err
    with pytest.raises(
        Unreachable, match="user/other is not in the cache, and HF_HUB_OFFLINE is set; unset it"
    ):
        fetch("user/other")
    with pytest.raises(Unreachable, match="user/other is not in the cache, and the hub is not to be asked"):
        fetch("user/other", local_files_only=True)


def test_half_a_model_in_the_cache_is_none(shared: Hub) -> None:
    shared.fail(WEIGHTS, 500)
    with pytest.raises(ValueError, match="HTTP status 500"):
        fetch(NAME)
    with pytest.raises(Unreachable, match="is not in the cache"):
        fetch(NAME, local_files_only=True)


def test_a_model_that_changes_meanwhile_is_not_mixed(shared: Hub, files: Files, monkeypatch: Patch) -> None:
    check = download._check_listing

    def committed(*arguments: Any) -> None:
        check(*arguments)
        shared.add(NAME, {**files, "README.md": b"new"})

    monkeypatch.setattr(download, "_check_listing", committed)
    with pytest.raises(ValueError, match=f"{NAME} has changed while it was read; try again"):
        fetch(NAME)


@pytest.mark.parametrize("body", [b"<html>Sign in to this network</html>", b"[]", b'{"sha": 3}', b"{}"])
def test_what_is_no_hub_is_named(shared: Hub, body: bytes) -> None:
    shared.fail("GET /api/models", body=lambda right: body + b" " * (len(right) - len(body)))
    with pytest.raises(ValueError, match=r"answers as no hub does|is no model of SunFish"):
        fetch(NAME)


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("POST /api/repos/create", 401, "does not accept the token"),
        (
            "POST /api/repos/create",
            403,
            "does not permit this; set HF_TOKEN to a token that may do it (to push",
        ),
        ("POST /api/models/.*/preupload", 429, "has had too many requests"),
        ("POST /user/robots.git/info/lfs", 500, "fails; try again later (HTTP status 500)"),
        ("PUT /lfs/", 500, "fails; try again later (HTTP status 500)"),
        ("PUT /lfs/", 413, "refuses files of this size (HTTP status 413)"),
        ("POST /api/models/.*/commit", 403, "does not permit this"),
        ("POST /api/models/.*/commit", 503, "fails; try again later (HTTP status 503)"),
    ],
)
def test_an_upload_that_fails_commits_nothing(
    hub: Hub, folder: Path, line: str, status: int, said: str
) -> None:
    hub.fail(line, status, {"X-Error-Message": "Invalid credentials in Authorization header"})
    with pytest.raises(ValueError, match=re.escape(said)):
        upload(folder, NAME)
    assert all(repository.files().keys() == {".gitattributes"} for repository in hub.repositories.values())
    hub.faults.clear()
    upload(folder, NAME)
    assert hub.repositories[NAME].files().keys() == {".gitattributes", *os.listdir(folder)}


def test_a_full_disk_is_said_as_it_is(hub: Hub) -> None:
    with pytest.raises(OSError, match="no room"), hub_errors(NAME):
        raise OSError(28, "no room")
    assert client().endpoint == hub.url
