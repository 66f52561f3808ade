#!/usr/bin/env bash
# Run the tests in several processes: ./run_tests.sh [arguments of pytest]. Makes its environment if there is none.
set -euo pipefail
unset CDPATH
script="${BASH_SOURCE[0]}"
while [ -L "$script" ]; do # as in run.sh
    cd -P -- "$(dirname -- "$script")"
    script="$(readlink -- "$(basename -- "$script")")"
done
cd -P -- "$(dirname -- "$script")"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # the processes share the cores
unset PYTHONDONTWRITEBYTECODE                  # without it every process compiles every test anew
cores="$(getconf _NPROCESSORS_ONLN)"
# One more than the cores, which tests that wait leave idle. (--pdb takes none: it works with "auto" alone.)
export PYTEST_XDIST_AUTO_NUM_WORKERS="${PYTEST_XDIST_AUTO_NUM_WORKERS:-$((cores < 3 ? cores + 1 : 4))}"
SUNFISH_EXTRAS="test" exec ./run.sh -m pytest --numprocesses auto --dist worksteal "$@"
