#!/usr/bin/env bash
# Run the tests: ./run_tests.sh [arguments of pytest]. Makes its own environment where there is none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
SUNFISH_EXTRAS="test" exec ./run.sh -m pytest "$@"
