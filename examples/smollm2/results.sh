#!/usr/bin/env bash
# The runs behind "A real model" in benchmarks/RESULTS.md, one after another; given again, it goes on where it stood.
#   examples/smollm2/results.sh MODEL OUT [SEED]      (OUT/data is what prepare.py wrote; one OUT for each seed)
set -euo pipefail
model=$1 out=$2 seed=${3:-0}
configs=$(dirname "$0")/../../tl_jax/demo/configs/model
answering=(--dtype float32 --batch-size 32 --max-new-tokens 80)

answers() {  # NAME MODEL: of every test set
  for cases in toolalpaca rotbench_clean rotbench_slight; do
    tl-jax eval --model "$2" --cases "$out/data/$cases.jsonl" --out "$out/eval/$1/$cases" "${answering[@]}"
  done
  tl-jax eval --model "$2" --suite bfcl_v4 --category simple_python --category multiple --category irrelevance \
    --cases "$out/data/bfcl" --out "$out/eval/$1/bfcl" "${answering[@]}"
}

sft() {  # NAME OVERRIDE...
  tl-jax sft --config "$configs/sft.yaml" model.path="$model" data.path="$out/data/train.jsonl" run_dir="$out/$1" seed="$seed" "${@:2}"
}

answers base "$model"
sft sft data.mae.rule=none data.pkt.mode=none
answers sft "$out/sft"
sft mae_pkt
answers mae_pkt "$out/mae_pkt"
tl-jax rl --config "$configs/rl.yaml" model.path="$out/mae_pkt" data.path="$out/data/train.jsonl" run_dir="$out/irm" seed="$seed"
answers irm "$out/irm"
python "$(dirname "$0")/tables.py" "$out"
