#!/usr/bin/env bash
# One training job over SLURM nodes, one process per node, all of its GPUs to that process.
#   sbatch --nodes=4 --gpus-per-node=8 launch/slurm.sh sft --config configs/codellama_7b_sft.yaml model.path=... run_dir=...
#SBATCH --job-name=tl-jax
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
[ $# -ge 1 ] || { echo "usage: sbatch launch/slurm.sh COMMAND --config FILE [key=value ...]" >&2; exit 2; }
set -a; . launch/gpu.env; set +a
# SIGTERM comes two minutes before the limit: the run saves a checkpoint and exits with 143. SLURM requeues a job by itself
# only when a node fails or another job takes its place, so this one asks for it; it goes on from the checkpoint.
# jax.distributed finds coordinator, process count and rank in SLURM's own variables (distributed=auto).
code=0
srun --kill-on-bad-exit=1 .venv/bin/tl-jax "$1" checkpoint.grace_seconds=120 "${@:2}" distributed=on checkpoint.resume=auto || code=$?
if [ "$code" = 143 ]; then
  echo "stopped by SIGTERM with a checkpoint: requeued" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
