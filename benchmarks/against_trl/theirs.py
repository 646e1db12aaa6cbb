"""TRL's side of `run.py`, with TRL and torch alone: trains on what a directory holds, and prints what it took."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedTokenizerBase,
    TrainerCallback,
)

LENGTH = 2048
QUIET: dict[str, Any] = {
    "bf16": False,  # would multiply in it with weights in float32; --dtype says what the weights are
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
    "learning_rate": 1e-6,
    "seed": 0,
}


class Stopwatch(TrainerCallback):
    """Wall and processor seconds, of these the system's, between the first step's end and the last one's."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float, float]] = []
        self.losses: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.times.append((time.perf_counter(), time.process_time(), os.times().system))

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        self.losses += [logs[name] for name in ("loss", "loss/policy_avg") if name in logs]


def sft(work: Path, settings: dict[str, Any], tokenizer: PreTrainedTokenizerBase, watch: Stopwatch) -> None:
    from trl import SFTConfig, SFTTrainer

    arrays = np.load(work / "examples.npz")
    rows = []
    for number in range(len(arrays) // 4):
        tokens, weights = arrays[f"tokens_{number}"], arrays[f"weights_{number}"]
        targets = np.roll(weights > 0, 1)  # here a label stands at its own token
        rows.append({"input_ids": tokens.tolist(), "labels": np.where(targets, tokens, -100).tolist()})
    config = SFTConfig(
        output_dir=str(work / "trl"),
        max_steps=settings["steps"] + 1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=settings["rows"],
        packing=True,
        packing_strategy="bfd",
        max_length=LENGTH,
        **QUIET | {"learning_rate": 1e-4, "use_cpu": settings["device"] == "cpu"},
    )
    SFTTrainer(
        model=load(work, settings),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[watch],
    ).train()


def grpo(work: Path, settings: dict[str, Any], tokenizer: PreTrainedTokenizerBase, watch: Stopwatch) -> None:
    from trl import GRPOConfig, GRPOTrainer

    answers = settings["prompts"] * settings["group_size"]
    config = GRPOConfig(
        output_dir=str(work / "trl"),
        max_steps=settings["steps"] + 1,
        per_device_train_batch_size=settings["group_size"],
        gradient_accumulation_steps=answers // settings["group_size"],
        num_generations=settings["group_size"],
        max_completion_length=settings["new_tokens"],
        beta=0.0,
        temperature=1.0,
        **QUIET | {"use_cpu": settings["device"] == "cpu"},
    )
    texts = [{"prompt": tokenizer.decode(ids)} for ids in prompts(work)]

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [text.count("e") / 10 for text in completions]

    GRPOTrainer(
        model=load(work, settings),
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list(texts),
        processing_class=tokenizer,
        callbacks=[watch],
    ).train()


def ppo(work: Path, settings: dict[str, Any], tokenizer: PreTrainedTokenizerBase, watch: Stopwatch) -> None:
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    answers = settings["prompts"]
    config = PPOConfig(
        output_dir=str(work / "trl"),
        total_episodes=answers * (settings["steps"] + 1),
        per_device_train_batch_size=answers,
        gradient_accumulation_steps=1,
        num_mini_batches=1,
        num_ppo_epochs=1,
        local_rollout_forward_batch_size=answers,
        response_length=settings["new_tokens"],
        temperature=1.0,
        num_sample_generations=0,
        **QUIET | {"use_cpu": settings["device"] == "cpu"},
    )
    value = AutoModelForSequenceClassification.from_pretrained(
        work / "model", num_labels=1, dtype=getattr(torch, settings["dtype"])
    )
    small = LlamaConfig(
        vocab_size=value.config.vocab_size,  # any of which may be sampled, whatever the tokenizer has
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=load(work, settings),
        ref_model=load(work, settings),
        reward_model=AutoModelForSequenceClassification.from_config(small, dtype=getattr(torch, settings["dtype"])),
        value_model=value,
        train_dataset=Dataset.from_list([{"input_ids": ids} for ids in prompts(work)]),
        eval_dataset=Dataset.from_list([{"input_ids": ids} for ids in prompts(work)[:1]]),
        callbacks=[watch],
    ).train()


def load(work: Path, settings: dict[str, Any]) -> Any:
    return AutoModelForCausalLM.from_pretrained(work / "model", dtype=getattr(torch, settings["dtype"]))


def prompts(work: Path) -> list[list[int]]:
    return [json.loads(line) for line in (work / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]


def main() -> None:
    work, stdout = Path(sys.argv[1]), sys.stdout
    sys.stdout = sys.stderr
    settings = json.loads((work / "settings.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(work / "model")
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    watch = Stopwatch()
    {"sft": sft, "grpo": grpo, "ppo": ppo}[settings["kind"]](work, settings, tokenizer, watch)
    wall, cpu, system = (last - first for first, last in zip(watch.times[0], watch.times[-1], strict=True))
    on_gpu, host = settings["device"] == "gpu", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else host
    sys.stdout = stdout
    took = {"wall": wall, "cpu": cpu, "system": system, "memory": memory}
    print(json.dumps(took | {"loss": watch.losses[0] if watch.losses else 0.0}))


if __name__ == "__main__":
    main()
