"""run.sh makes its environment, once and whole: half-made ones, two at a time, foreign settings, links."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

# An interpreter whose venv and pip take no time: it makes itself the environment's, and notes every installation.
PYTHON = f"""#!/bin/sh
venv="$(dirname "$(dirname "$0")")"
case "${{1-}} ${{2-}} ${{3-}}" in
    "-m venv "*) [ -z "${{BROKEN-}}" ] || exit 1
        mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; touch "$3/pip"; echo venv >>made ;;
    "-m pip --version") [ -e "$venv/pip" ] ;;
    "-m pip install") echo install >>made; sleep "${{SLOW-0}}"
        [ -z "${{OFFLINE-}}" ] || {{ echo "ERROR: No matching distribution found" >&2; exit 1; }}
        touch "$venv/bin/sunfish" ;;
    "- "*) [ -e "$venv/bin/sunfish" ] ;;
    *) exec {sys.executable} "$@" ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of run.sh and what it reads, in a folder whose name is hard on scripts."""
    folder = tmp_path / "-my Übung\n$(x)" / "proj*ect"
    folder.mkdir(parents=True)
    for name in ("run.sh", "start_training.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    interpreter = tmp_path / "python3"
    interpreter.write_text(PYTHON)
    interpreter.chmod(0o755)
    return folder


def start(project: Path, *words: str, script: str | Path = "", **settings: str) -> subprocess.Popen[str]:
    names = ("SUNFISH_EXTRAS", "SUNFISH_CONSTRAINTS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"SUNFISH_PYTHON": str(project.parents[1] / "python3"), **settings}
    return subprocess.Popen(
        [str(script or project / "run.sh"), *(words or ("-c", "import os; print(repr(os.getcwd()))"))],
        cwd=project.parents[1],
        env={name: value for name, value in environment.items() if value},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def made(project: Path) -> list[str]:
    """What was made, in order: ``venv`` and ``install``."""
    return (project / "made").read_text().split()


def runs(project: Path, **settings: str) -> None:
    assert finish(start(project, **settings))[:2] == (0, f"{str(project)!r}\n")


def test_it_installs_once(project: Path) -> None:
    runs(project)
    runs(project)
    assert made(project) == ["venv", "install"]
    (project / "pyproject.toml").write_text("[project]\n")
    (project / ".venv/bin/sunfish").unlink()
    runs(project)
    assert made(project) == ["venv", "install", "install"]
    assert not (project / ".venv.lock").exists()


@pytest.mark.parametrize(
    "broken",
    [
        "pip",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("unfinished", "bin/python", "dangling", "empty")
        ),
    ],
)
def test_a_half_made_environment_is_made_anew(project: Path, broken: str) -> None:
    runs(project)
    environment = project / ".venv"
    if broken == "empty":
        shutil.rmtree(environment)
        environment.mkdir()
    elif broken == "dangling":  # the Python it was made with was removed
        (environment / "bin/python").unlink()
        (environment / "bin/python").symlink_to("/nowhere/python3.11")
    elif broken == "unfinished":
        (environment / "unfinished").touch()
    else:
        (environment / broken).unlink()
        (environment / "bin/sunfish").unlink()
        (environment / "sunfish-installed").unlink()
    runs(project)
    runs(project)
    assert made(project) == ["venv", "install"] * 2


@pytest.mark.slow
def test_an_installation_that_was_killed_is_made_anew(project: Path) -> None:
    process = start(project, SLOW="60")
    while not (project / "made").exists() or "install" not in made(project):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    assert (project / ".venv.lock").exists()
    runs(project)
    assert made(project) == ["venv", "install"] * 2


@pytest.mark.slow
def test_two_at_once_install_once(project: Path) -> None:
    results = [finish(process) for process in [start(project, SLOW="1") for _ in range(3)]]
    assert [code for code, _, _ in results] == [0] * 3
    assert made(project) == ["venv", "install"]
    assert sum("waiting for process" in err for _, _, err in results) == 2


def one_line(result: tuple[int, str, str]) -> str:
    code, out, err = result
    errors = [line for line in err.splitlines() if not line.startswith(("making", "installing"))]
    assert code == 1 and out == "" and "error: " in err and len(errors) <= 2 + err.count("$(x)"), err
    return err


@pytest.mark.slow
def test_what_goes_wrong_is_said_once_with_the_remedy(project: Path) -> None:
    for name in ("/nowhere/python3", "/bin/false"):
        assert f"SUNFISH_PYTHON is '{name}'" in one_line(finish(start(project, SUNFISH_PYTHON=name)))
    assert "SUNFISH_CONSTRAINTS is 'x.txt'" in one_line(finish(start(project, SUNFISH_CONSTRAINTS="x.txt")))
    assert "makes no environment" in one_line(finish(start(project, BROKEN="1")))
    for _ in range(2):
        err = one_line(finish(start(project, OFFLINE="1")))
        assert "ERROR: No matching distribution found" in err and "needs a network" in err
    runs(project)


def test_without_a_new_python_that_is_said(project: Path) -> None:
    folder = project.parents[1] / "bin"
    folder.mkdir()
    for tool in ("bash", "env", "dirname", "cat", "tail", "readlink", "basename", "ln", "rm", "mkdir"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    (folder / "python3").write_text("#!/bin/sh\n[ $1 != --version ] || echo Python 3.9.2\nexit 1\n")
    (folder / "python3").chmod(0o755)
    err = one_line(finish(start(project, SUNFISH_PYTHON="", PATH=str(folder))))
    assert "no Python 3.11 or newer" in err and "python3: Python 3.9.2" in err and "SUNFISH_PYTHON=" in err


@pytest.mark.slow
def test_links_lead_to_the_project(project: Path) -> None:
    runs(project)
    folder = project.parents[1]
    (folder / "bin").mkdir()
    (folder / "first").symlink_to(project / "run.sh")
    (folder / "bin/second").symlink_to("../first")
    (folder / "bin/-third").symlink_to("second")
    (folder / "linked").symlink_to(project)
    for script in ("first", "bin/second", "bin/-third", "linked/run.sh"):
        assert finish(start(project, script=folder / script))[:2] == (0, f"{str(project)!r}\n")
        assert finish(start(project, script=f"./{script}"))[:2] == (0, f"{str(project)!r}\n")
    (folder / "training").symlink_to(project / "start_training.sh")
    err = finish(start(project, "--help", script=folder / "training"))[2]
    assert repr(str(project / "train.py")).strip("'") in err or str(project / "train.py") in err
    assert made(project) == ["venv", "install"]


def test_the_settings_of_other_pythons_do_no_harm(project: Path) -> None:
    runs(project, PYTHONHOME="/nowhere", CDPATH="/:/tmp", PIP_USER="1", PIP_TARGET="/nowhere", HOME="")
    code = "import os, sys; print(os.environ['PYTHONPATH'] == os.getcwd(), 'PIP_USER' in os.environ)"
    assert finish(start(project, "-c", code, PYTHONPATH="/nowhere"))[1] == "True False\n"


def test_a_clone_has_unix_line_ends_whatever_git_is_told(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no repository")
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in (".gitattributes", "run.sh"):
        shutil.copy(ROOT / name, clone)
    git = ["git", "-C", str(clone), "-c", "core.autocrlf=true", "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"], ["rm", "-rq", "run.sh"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    subprocess.run([*git, "checkout", "-q", "HEAD", "run.sh"], check=True)
    assert (clone / "run.sh").read_bytes() == (ROOT / "run.sh").read_bytes()
    assert b"\r" not in (clone / "run.sh").read_bytes()
