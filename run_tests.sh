#!/usr/bin/env bash
# Run the tests, one process per core: ./run_tests.sh [arguments of pytest]. Makes its own environment if there is none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # the processes share the cores
SUNFISH_EXTRAS="test" exec ./run.sh -m pytest --numprocesses auto --maxprocesses 4 "$@"
