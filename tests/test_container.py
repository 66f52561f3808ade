"""The Dockerfile and the Space: what is copied is there, the command is one of the program's, ports agree."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from fnmatch import fnmatch

import pytest
from packaging.specifiers import SpecifierSet

from sunfish.cli import build_parser, parse
from sunfish.serving.security import OPEN_PATHS
from sunfish.serving.server import check_reach
from sunfish.utils import UsageError
from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [
    (line.split()[0], line.partition(" ")[2].strip())
    for line in re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines()
    if line and not line.startswith("#")
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def values(instruction: str) -> list[str]:
    return [value for name, value in INSTRUCTIONS if name == instruction]


def copied() -> list[str]:
    return [path for value in values("COPY") for path in shlex.split(value)[:-1]]


def command() -> list[str]:
    (entry,), (words,) = values("ENTRYPOINT"), values("CMD")
    return [*json.loads(entry), *json.loads(words)]


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    assert copied()
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines and set(copied()) <= kept
    assert all((ROOT / path).exists() for path in copied())
    ignored = [line for line in lines if line.startswith("**/")]
    assert not any(fnmatch(f"src/{p}", g) for p in ("sunfish/demo/model.safetensors",) for g in ignored)


def test_the_package_can_be_built_from_what_is_copied() -> None:
    """The files that pyproject.toml names, the constraints, and the extra are there."""
    assert {PROJECT["readme"], "pyproject.toml", "src"} <= set(copied())
    (run,) = (value for value in values("RUN") if "pip install" in value)
    words = shlex.split(run)
    assert words[words.index("--constraint") + 1] in copied()
    (extra,) = re.findall(r"\.\[(\w+)\]", run)
    assert extra in PROJECT["optional-dependencies"]
    (base,) = values("FROM")
    (python,) = re.findall(r"^python:(\d+\.\d+)-", base)
    assert python in SpecifierSet(PROJECT["requires-python"])


def test_it_starts_the_page_and_only_with_a_token() -> None:
    assert command()[0] in PROJECT["scripts"]
    arguments = parse(command()[1:])
    assert (arguments.command, arguments.checkpoint) == ("serve", "demo")
    with pytest.raises(UsageError, match="give a token"):
        check_reach(arguments.host, None)
    check_reach(arguments.host, "abcdefghij0123456789")


def test_it_runs_as_a_user_without_rights() -> None:
    assert values("USER") == ["1000"]
    assert [name for name, _ in INSTRUCTIONS].index("USER") > [name for name, _ in INSTRUCTIONS].index("RUN")


def test_its_health_is_asked_at_an_open_path_of_its_port() -> None:
    (check,) = values("HEALTHCHECK")
    words = json.loads(check[check.index("[") :])
    compile(words[2], "HEALTHCHECK", "exec")
    (port, path) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", words[2])[0]
    assert path in OPEN_PATHS and values("EXPOSE") == [port] == [str(parse(command()[1:]).port)]


def test_the_space_is_of_this_image() -> None:
    text = (ROOT / "deploy" / "huggingface" / "README.md").read_text(encoding="utf-8")
    _, front, page = text.split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert fields["sdk"] == "docker" and [fields["app_port"]] == values("EXPOSE")
    assert (
        fields["license"] == "mit" and fields["title"] == "SunFish" and len(fields["short_description"]) <= 60
    )
    assert {fields["colorFrom"], fields["colorTo"]} <= {
        *("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
    }
    assert "SUNFISH_TOKEN" in page and "SUNFISH_TOKEN" in str(build_parser()[1]["serve"].format_help())


def test_what_the_page_copies_into_a_space_builds_the_image() -> None:
    page = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
    (archived,) = re.findall(r"git archive HEAD (.+?) \|", page)
    assert {*copied(), "Dockerfile", ".dockerignore"} == {*archived.split(), "README.md"}
    for image in re.findall(r"docker run (?:.|\\\n)*? sunfish\b(.*)", page):
        words = shlex.split(image)
        assert not words or parse(words).command in ("serve", "sample")
    if (ROOT / ".git").exists():
        tracked = subprocess.run(
            ["git", "ls-files", *archived.split()], cwd=ROOT, capture_output=True, text=True
        )
        names = set(tracked.stdout.splitlines())
        assert {"Dockerfile", "src/sunfish/demo/model.safetensors", "LICENSE"} <= names
