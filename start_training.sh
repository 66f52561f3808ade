#!/usr/bin/env bash
# From a fresh clone to a trained model:
#   ./start_training.sh [nano|tiny|small|micro|base|full] [flags of train.py]
# Installs, measures this machine, and trains micro on the built-in stories. Resumes checkpoints/last.ckpt
# when that is a run of the same size. Ctrl-C saves; run it again to resume.
set -euo pipefail
unset CDPATH
script="${BASH_SOURCE[0]}"
while [ -L "$script" ]; do # as in run.sh
    cd -P -- "$(dirname -- "$script")"
    script="$(readlink -- "$(basename -- "$script")")"
done
cd -P -- "$(dirname -- "$script")"

size=micro
case "${1:-}" in
    "" | -*) ;;
    nano | tiny | small | micro | base | full) size="$1"; shift ;;
    *)
        echo "error: there is no size '$1'; the sizes are: nano tiny small micro base full" >&2
        exit 2
        ;;
esac
exec ./run.sh train.py --config "$size" --resume auto --preflight "$@"
