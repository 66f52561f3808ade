#!/usr/bin/env bash
# Run SunFish's Python with the given arguments, from the project's folder:
#   ./run.sh train.py --config micro          ./run.sh -c "import sunfish"
# The first call makes the environment (.venv) and installs what pyproject.toml asks for; later calls find
# pyproject.toml unchanged and need no network. SUNFISH_EXTRAS=test also installs an extra. The versions are those of
# constraints.txt; SUNFISH_CONSTRAINTS=/dev/null takes the newest that pyproject.toml allows.
set -euo pipefail
unset CDPATH PYTHONHOME # with PYTHONHOME no environment starts
script="${BASH_SOURCE[0]}"
while [ -L "$script" ]; do # follow links to this script; readlink -f is not everywhere
    cd -P -- "$(dirname -- "$script")"
    script="$(readlink -- "$(basename -- "$script")")"
done
cd -P -- "$(dirname -- "$script")"
export PYTHONPATH="$PWD" # for config/; packages of another Python would shadow those of .venv
unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER PIP_PYTHON PIP_REQUIRE_VIRTUALENV PIP_REQUIRE_HASHES PIP_NO_DEPS PIP_DRY_RUN
[ -n "${OMP_WAIT_POLICY:-}" ] || export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-10000}" # as in src/sunfish/hardware/cpu.py

extra="${SUNFISH_EXTRAS:-}"
constraints="${SUNFISH_CONSTRAINTS:-constraints.txt}"
python="$PWD/.venv/bin/python"
unfinished=.venv/unfinished # there while .venv is made or installed into: what was killed then is made anew
stamp=".venv/sunfish-installed${extra:+-$extra}"

fail() {
    echo "error: $1" >&2
    exit 1
}

can_make_environments() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate
    if [ -n "${SUNFISH_PYTHON:-}" ]; then
        can_make_environments "$SUNFISH_PYTHON" || fail "SUNFISH_PYTHON is '$SUNFISH_PYTHON', which is no Python 3.11 \
or newer with the modules venv and ensurepip; name another, or unset it"
        echo "$SUNFISH_PYTHON"
        return
    fi
    for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do
        if can_make_environments "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer with the modules venv and ensurepip was found (python3: $(python3 --version 2>&1 |
        tail -n 1)); Debian, Ubuntu: sudo apt install python3 python3-venv; macOS: brew install python; \
or name one: SUNFISH_PYTHON=/path/to/python3"
}

already_installed() { # everything that pyproject.toml asks for is there, and this folder is what is installed
    .venv/bin/python - "${1:-}" <<'PYTHON' 2>/dev/null
import importlib.util, pathlib, sys, tomllib
from importlib.metadata import version
from pip._vendor.packaging.requirements import Requirement

project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
extra = [name for name in sys.argv[1].split(",") if name]
wanted = project["dependencies"] + [r for name in extra for r in project["optional-dependencies"][name]]
met = all(version(r.name) in r.specifier for r in map(Requirement, wanted))
sys.path = [folder for folder in sys.path if folder != str(pathlib.Path.cwd()) and folder]
spec = importlib.util.find_spec("sunfish")
here = spec is not None and pathlib.Path(spec.origin).is_relative_to(pathlib.Path("src").resolve())
script = pathlib.Path(".venv/bin/sunfish")
sys.exit(not (met and here and script.exists()))
PYTHON
}

is_installed() {
    [ -x "$python" ] && [ ! -e "$unfinished" ] && "$python" -c '' >/dev/null 2>&1 || return 1 # absent, or moved
    # The folder is part of the stamp: an editable installation names it.
    wanted="$( (pwd && cat pyproject.toml "$constraints") | "$python" -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return 0
    already_installed "$extra" || return 1
    if [ -w .venv ]; then echo "$wanted" >"$stamp"; fi
}

has_pip_and_version() {
    "$python" -m pip --version && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'
}

take_lock() { # .venv.lock holds the number of the process that installs
    local holder told=""
    until (set -C && echo "$$" >.venv.lock) 2>/dev/null; do # set -C: only if there is no such file
        holder="$(cat .venv.lock 2>/dev/null || true)"
        if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then
            rm -f .venv.lock # that process was killed
            continue
        fi
        [ -z "$holder" ] || [ -n "$told" ] || echo "waiting for process $holder, which installs into .venv …" >&2
        told="$holder"
        sleep 1
        [ ! -e .venv.lock ] || [ -s .venv.lock ] || fail "$PWD/.venv.lock is empty; make room on the disk and remove it"
    done
    trap 'rm -f .venv.lock' EXIT
}

make_environment() {
    local interpreter output
    if [ -e "$unfinished" ] || ! has_pip_and_version >/dev/null 2>&1; then
        interpreter="$(find_python)" || exit 1
        echo "making the environment .venv with $("$interpreter" --version)" >&2
        rm -rf .venv
        mkdir .venv
        : >"$unfinished"
        output="$("$interpreter" -m venv .venv 2>&1)" || fail "$interpreter makes no environment: ${output##*$'\n'}"
    fi
    : >"$unfinished"
    echo "installing SunFish into .venv (the first time this takes some minutes) …" >&2
    if "$python" -m pip install --disable-pip-version-check --quiet --no-user --constraint "$constraints" \
        --editable ".${extra:+[$extra]}" >.venv/install.log 2>&1; then
        rm "$unfinished"
        return
    fi
    rm "$unfinished" # pip puts back what it replaced
    fail "the installation failed ($(grep '^ERROR' .venv/install.log | head -n 1 | cut -c 1-160)); the first one needs a \
network and room on the disk, then call this again; all of it: $PWD/.venv/install.log; where this Python has no package \
of a version in constraints.txt: SUNFISH_CONSTRAINTS=/dev/null"
}

[ -r "$constraints" ] || fail "SUNFISH_CONSTRAINTS is '$constraints', which is no file that can be read"
if ! is_installed; then
    [ -w . ] || fail "$PWD has no complete .venv and cannot be written; copy it to a folder of yours"
    take_lock
    if ! is_installed; then # not by the process that was waited for
        make_environment
        is_installed || fail "the installation into $PWD/.venv is not complete; remove that folder and call this again"
    fi
    rm -f .venv.lock
    trap - EXIT
fi
if [ "$#" -eq 0 ]; then
    echo "usage: ./run.sh train.py --config micro | sample.py … | test_cfg.py | -c \"…\"" >&2
    exit 2
fi
exec .venv/bin/python "$@"
