"""The folder of ``sunfish export --web``, and where its runtime comes from."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import pytest

from sunfish.cli import main
from sunfish.export import web
from sunfish.utils import file_sha256
from tests.export.conftest import copy_of
from tests.export.test_write import saved
from tests.tiny_checkpoint import CONFIG

PAGE = Path(web.__file__).parent / "web"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the npm package, whose files have the hashes that are asked for."""
    dist = tmp_path / "onnxruntime-web" / "dist"
    dist.mkdir(parents=True)
    for name in web.HASHES:
        (dist / name).write_text(f"the content of {name}")
    monkeypatch.setattr(web, "HASHES", {name: file_sha256(dist / name) for name in web.HASHES})
    return dist.parent


def install_npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program named npm, the only one on the path but those of the system."""
    folder.mkdir()
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_folder_has_page_model_and_runtime(
    checkpoint: Path, exported: Path, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    monkeypatch.setattr(web, "write_model", copy_of(exported))
    assert main(["export", str(checkpoint), str(folder), "--web", "--runtime", str(package)]) == 0
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert names == {
        *(file.name for file in PAGE.iterdir()),
        *(f"model/{file.name}" for file in exported.iterdir()),
        *(f"runtime/{name}" for name in web.HASHES),
    }


def test_the_page_asks_for_nothing_outside() -> None:
    for file in PAGE.iterdir():
        text = file.read_text(encoding="utf-8")
        links = re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", text)
        assert links in ([], ["https://onnxruntime.ai"])  # a link to follow, no file of the page
        for name in re.findall(r"""(?:from|href=|src=|Worker\() ?["']([^"':]+)["']""", text):
            assert (PAGE / name).exists() or Path(name).name in web.HASHES
    assert "default-src 'none'" in (PAGE / "index.html").read_text()


def test_npm_fetches_the_runtime(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "packed.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        for name in web.HASHES:
            content = (package / "dist" / name).read_bytes()
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    install_npm(tmp_path / "bin", f'echo "$*" > {tmp_path}/words; cp {packed} ./fetched.tgz', monkeypatch)
    web.write_runtime(tmp_path / "runtime", None)
    assert {file.name: file_sha256(file) for file in (tmp_path / "runtime").iterdir()} == web.HASHES
    words = (tmp_path / "words").read_text().split()
    assert words[0] == "pack" and words[-1] == f"onnxruntime-web@{web.VERSION}"


def test_what_cannot_be_fetched_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remedy = f"give --runtime FOLDER, the npm package onnxruntime-web {web.VERSION} unpacked"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=f"not installed; install Node.js, or {remedy}"):
        web.write_runtime(tmp_path / "without", None)
    install_npm(tmp_path / "bin", "echo 'npm error code ENOTFOUND' >&2; exit 1", monkeypatch)
    with pytest.raises(ValueError, match=rf"\(npm error code ENOTFOUND\); check the network, or {remedy}"):
        web.write_runtime(tmp_path / "failed", None)
    install_npm(tmp_path / "slow", "exec sleep 60", monkeypatch)
    monkeypatch.setattr(web, "FETCH_SECONDS", 0.1)
    with pytest.raises(ValueError, match=f"within 0.1 s; {remedy}"):
        web.write_runtime(tmp_path / "late", None)


def test_another_version_is_refused(package: Path, tmp_path: Path) -> None:
    (package / "dist" / "ort.wasm.bundle.min.mjs").write_text("another")
    with pytest.raises(ValueError, match=f"is not that of onnxruntime-web {web.VERSION}"):
        web.write_runtime(tmp_path / "changed", package)
    with pytest.raises(ValueError, match=r"has no dist/ort\.wasm\.bundle\.min\.mjs"):
        web.write_runtime(tmp_path / "empty", tmp_path)


def test_a_failure_leaves_no_folder(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(checkpoint), str(tmp_path / "site"), "--web", "--runtime", str(tmp_path)]
    assert main(words) == 1
    assert "give the unpacked npm package onnxruntime-web" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_that_the_page_does_not_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sunfish.tokenizers import build_tokenizer

    letters = build_tokenizer("characters", CONFIG.model.vocab_size, ["Abc def."])
    monkeypatch.setattr("tests.export.test_write.story_tokenizer", lambda: letters)
    path = saved(tmp_path / "step-0000001", CONFIG)
    assert main(["export", str(path), str(tmp_path / "site"), "--web"]) == 2
    error = capsys.readouterr().err
    assert "the page reads the tokenizers bpe and bytes" in error and "export it with --onnx" in error


def test_one_of_two_forms(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        ([], "say what to write to site: --onnx, --web or --resumable"),
        (["--onnx", "--web"], "say what to write to site: --onnx, --web or --resumable"),
        (["--onnx", "--runtime", "x"], "--runtime is for --web"),
        (["--resumable", "--runtime", "x"], "--runtime is for --web"),
        (["--resumable", "--int8"], "--int8 is for --onnx and --web"),
    ):
        assert main(["export", "x.ckpt", "site", *words]) == 2
        assert message in capsys.readouterr().err
