#!/usr/bin/env bash
# Run the tests, one process per core: ./run_tests.sh [arguments of pytest]. Makes its own environment if there is none.
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
SUNFISH_EXTRAS="test" exec ./run.sh -m pytest --numprocesses auto --maxprocesses 4 "$@"
