#!/usr/bin/env bash
# Trains on the GPUs of a SLURM allocation, one process a GPU, and requeues itself until the run is done:
#
#   sbatch --nodes 8 deploy/slurm/train.sh --config full --name full --max_steps 100000 --max_minutes 0
#
# The flags are those of `sunfish train`. Five minutes before the time limit every process gets SIGUSR1, saves and ends;
# the job is then requeued, and resumes from that checkpoint. After a failure, such as a lost node or a process that was
# killed, it is requeued MAX_FAILURES times in all. Wrong use (exit code 2) is not tried again; scancel ends this script.
#SBATCH --job-name=sunfish
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -u

STOPPED_BY_USR1=138 WRONG_USE=2
MAX_FAILURES=${MAX_FAILURES:-10}
PYTHON=${PYTHON:-python}

MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((15000 + SLURM_JOB_ID % 15000))
export MASTER_ADDR MASTER_PORT OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"

# Where one process dies, srun ends the others by SIGTERM and exits with the highest code, which may be theirs: 143.
srun --kill-on-bad-exit=1 "$PYTHON" -m sunfish train --resume auto "$@"
code=$?

case $code in
    0 | "$WRONG_USE") exit $code ;; # done, or hopeless
    "$STOPPED_BY_USR1") echo "requeued: the time limit is near" ;;
    *)
        if ((${SLURM_RESTART_COUNT:-0} >= MAX_FAILURES)); then
            echo "not requeued: it has been restarted ${SLURM_RESTART_COUNT} times; the last exit code is $code"
            exit $code
        fi
        echo "requeued: exit code $code"
        ;;
esac
scontrol requeue "$SLURM_JOB_ID"
