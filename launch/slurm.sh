#!/usr/bin/env bash
# One training job over SLURM nodes, one process per node, all of its GPUs to that process.
#   sbatch --nodes=4 --gpus-per-node=8 launch/slurm.sh sft --config configs/codellama_7b_sft.yaml data.batch_size=32 model.path=... run_dir=...
#SBATCH --job-name=tl-jax
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
[ $# -ge 1 ] || { echo "usage: sbatch launch/slurm.sh COMMAND --config FILE [key=value ...]" >&2; exit 2; }
set -a; . launch/gpu.env; set +a
# Two minutes before the limit SLURM tells this script, and only it: a SIGTERM that it sends by itself ends a cancelled job,
# which must not be queued again. The tasks get theirs by scancel, for srun kills them at once where it is ended itself.
# They save a checkpoint and exit with 143, and the job goes on from there once it is queued again: SLURM does so by itself
# only when a node fails or another job takes its place. 143 alone says nothing: srun returns it too when it has ended the
# tasks that were left because another one failed, and a broken job would start for ever.
told=""
trap 'told=1; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
# jax.distributed finds coordinator, process count and rank in SLURM's own variables (distributed=auto).
srun --kill-on-bad-exit=1 .venv/bin/tl-jax "$1" checkpoint.grace_seconds=120 "${@:2}" distributed=on checkpoint.resume=auto &
tasks=$!
while kill -0 "$tasks" 2>/dev/null; do wait "$tasks" || true; done  # a signal ends a wait, but not srun
code=0
wait "$tasks" || code=$?
if [ -n "$told" ] && [ "$code" = 143 ]; then
  echo "stopped before its time limit, with a checkpoint: requeued" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
