#!/usr/bin/env bash
# Run one tl-jax command on every host of a Cloud TPU slice.
#   launch/tpu_pod.sh NAME ZONE sft --config configs/codellama_7b_sft.yaml model.path=/mnt/shared/... run_dir=gs://BUCKET/FOLDER
# Paths must be on storage that every host mounts (Filestore, a bucket through Cloud Storage FUSE), but gs:// for runs: .[gcs]
# Needs gcloud, and the repository at ~/tl_jax on the hosts (set it up once: launch/tpu_pod.sh NAME ZONE --setup GIT_URL).
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,5p' "$0" >&2; exit 2; }
name=$1 zone=$2; shift 2
on_all_hosts() { gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker=all --command "$1"; }
if [ "$1" = --setup ]; then
  [ $# -eq 2 ] || { echo "--setup needs the repository's git URL" >&2; exit 2; }
  on_all_hosts "git clone $(printf %q "$2") ~/tl_jax; cd ~/tl_jax && make setup && .venv/bin/pip install -q -e '.[tpu]'"
else
  on_all_hosts "cd ~/tl_jax && set -a && . launch/tpu.env && set +a && .venv/bin/tl-jax$(printf ' %q' "$@") distributed=on"
fi
