#!/usr/bin/env bash
# Run one tl-jax command on TPU slices of a GKE cluster that was made with XPK (https://github.com/AI-Hypercomputer/xpk).
#   launch/xpk.sh NAME CLUSTER TPU_TYPE SLICES IMAGE sft --config configs/codellama_7b_sft.yaml model.path=... run_dir=...
#   launch/xpk.sh tl-jax-sft my-cluster v5litepod-16 2 REGION-docker.pkg.dev/PROJECT/REPO/tl-jax:TAG sft --config ... mesh.data=2 data.batch_size=32
# The paths must be on storage that every host mounts (XPK_ARGS="--storage=NAME"), but for run_dir=gs://BUCKET/FOLDER; project, zone and the like are XPK's own
# settings, or go into XPK_ARGS too. With several slices mesh.data is a multiple of their number.
set -euo pipefail
[ $# -ge 6 ] || { sed -n '2,6p' "$0" >&2; exit 2; }
name=$1 cluster=$2 type=$3 slices=$4 image=$5; shift 5
read -ra more <<< "${XPK_ARGS:-}"
# A pod that is evicted saves a checkpoint within its grace period and exits with 143. XPK restarts after 127 to 255, as often as
# --max-restarts says, and the workload goes on from there.
xpk workload create --workload="$name" --cluster="$cluster" --tpu-type="$type" --num-slices="$slices" \
  --docker-image="$image" --max-restarts=50 --termination-grace-period-seconds=120 \
  "${more[@]}" --command="tl-jax$(printf ' %q' "$@") checkpoint.grace_seconds=120 distributed=on"
