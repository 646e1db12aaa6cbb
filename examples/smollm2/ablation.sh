#!/usr/bin/env bash
# Every subset of MAE, PKT and IRM on a real model, then BFCL's questions to each: some minutes of an accelerator. Given again, it goes on.
#   examples/smollm2/ablation.sh MODEL OUT [JOBS]      (OUT/data is what prepare.py wrote; JOBS share the device)
set -euo pipefail
model=$1 out=$2 jobs=${3:-1}
tl-jax ablation --config "$(dirname "$0")/ablation.yaml" model="$model" data.path="$out/data/train.jsonl" \
  data.cases="$out/data/cases.jsonl" out="$out/ablation" --jobs "$jobs"
for run in "$model" "$out"/ablation/sft/* "$out"/ablation/rl/*; do
  tl-jax eval --model "$run" --renderer paper --suite bfcl_v4 --category simple_python --category multiple --category irrelevance \
    --cases "$out/data/bfcl" --out "$out/bfcl/$(basename "$run")" --dtype bfloat16 --batch-size 64 --max-new-tokens 128
done
