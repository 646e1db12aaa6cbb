"""How the files of a run directory are called; `tl_jax.training.rundir` says what is in each."""

from __future__ import annotations

CONFIG_FILE = "config.yaml"
STARTS_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
LOG_FILE = "log.txt"
SAMPLES_FILE = "samples.jsonl"
LOCK_FILE = "lock.json"
CHECKPOINTS, DAMAGED, ENGINE = "checkpoints", "damaged", "engine"
"""Folders of weights; of a run in a bucket, the last one is on this machine and the others are there."""
