#!/usr/bin/env bash
# Prepares a corpus on several machines of a SLURM cluster, each of which encodes its shards, and then joins them:
#   deploy/slurm/prepare.sh 8 --data hf:OWNER/NAME --data_folder /shared/data --config base
# The data folder must be on a disk that all machines share. Submitted again, the jobs resume where they stopped.
set -euo pipefail

machines=${1:?give the number of machines, then the flags of sunfish data}
shift
[[ $machines =~ ^[1-9][0-9]*$ ]] || { echo "the number of machines is '$machines'; give a whole number" >&2; exit 2; }
sunfish=$(printf '%q ' "${PYTHON:-python}" -m sunfish data "$@")
# --exclusive: an encoder runs on every core. --requeue: a machine that dies leaves whole shards, and resumes after them.
array=$(sbatch --parsable --job-name=sunfish-shards --array="0-$((machines - 1))" --nodes=1 --ntasks=1 --exclusive \
    --requeue --wrap="exec $sunfish --shard \$SLURM_ARRAY_TASK_ID/$machines")
# afterany: what a lost machine lacks, the last step encodes.
sbatch --job-name=sunfish-join --dependency="afterany:${array%%;*}" --nodes=1 --ntasks=1 --exclusive --requeue \
    --wrap="exec $sunfish"
