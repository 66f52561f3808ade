#!/usr/bin/env bash
# Run SunFish's Python with the given arguments, from the project's folder:
#   ./run.sh train.py --config micro          ./run.sh -c "import sunfish"
# The first call makes the environment (.venv) and installs what pyproject.toml asks for; later calls find
# pyproject.toml unchanged and need no network. SUNFISH_EXTRAS=test also installs an extra. The versions are those of
# constraints.txt; SUNFISH_CONSTRAINTS=/dev/null takes the newest that pyproject.toml allows.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" # for config/, wherever the script lies
[ -n "${OMP_WAIT_POLICY:-}" ] || export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-10000}" # as in src/sunfish/hardware/cpu.py

find_python() {
    local candidate
    for candidate in ${SUNFISH_PYTHON:+"$SUNFISH_PYTHON"} python3.11 python3.12 python3.13 python3.14 python3 python; do
        if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return 0
        fi
    done
    {
        echo "error: no Python 3.11 or newer with its venv module was found."
        echo "  Debian, Ubuntu: sudo apt install python3.11 python3.11-venv (or python3 python3-venv)"
        echo "  macOS: brew install python@3.11"
        echo "  or name one: SUNFISH_PYTHON=/path/to/python3.11 $0"
    } >&2
    return 1
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

make_environment() {
    local python="$PWD/.venv/bin/python" interpreter wanted extra="${SUNFISH_EXTRAS:-}" stamp
    local constraints="${SUNFISH_CONSTRAINTS:-constraints.txt}"
    if [ ! -x "$python" ] || ! "$python" -c '' >/dev/null 2>&1; then # absent, or moved with its folder
        interpreter="$(find_python)" || return 1
        echo "making the environment .venv with $("$interpreter" --version)" >&2
        "$interpreter" -m venv --clear .venv >&2
    fi
    stamp=".venv/sunfish-installed${extra:+-$extra}"
    # The folder is part of the stamp: an editable installation names it.
    wanted="$( (pwd; cat pyproject.toml "$constraints") | "$python" -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return 0
    fi
    if already_installed "$extra"; then
        echo "$wanted" >"$stamp"
        return 0
    fi
    echo "installing SunFish into .venv (the first time this takes some minutes) …" >&2
    if ! "$python" -m pip install --disable-pip-version-check --quiet --constraint "$constraints" \
        --editable ".${extra:+[$extra]}" >&2; then
        echo "error: the installation failed. Is there a network, and room on the disk? Then call this again." >&2
        echo "  If this Python has no package of a version in constraints.txt: SUNFISH_CONSTRAINTS=/dev/null $0" >&2
        return 1
    fi
    echo "$wanted" >"$stamp"
}

make_environment
if [ "$#" -eq 0 ]; then
    echo "usage: ./run.sh train.py --config micro | sample.py … | test_cfg.py | -c \"…\"" >&2
    exit 2
fi
exec .venv/bin/python "$@"
