"""How long a demo of the user's own model lasts on this machine, and what memory it takes, before it begins."""

from __future__ import annotations

import shutil

from tl_jax.config import RlConfig, SftConfig, load_config
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import encode_prompts, load_cases
from tl_jax.demo.course import Training
from tl_jax.demo.session import Demo, finished
from tl_jax.errors import UserError
from tl_jax.plan.machine import this_machine
from tl_jax.plan.plan import Plan, make_plan
from tl_jax.plan.report import verdict
from tl_jax.plan.workload import open_subject
from tl_jax.training.sft import run_sft
from tl_jax.training.speed import flops

TIMED = 3
"""Steps of one row whose time is taken, after one that compiles."""


def estimate(demo: Demo) -> None:
    """Prints the memory of each training by its plan, and the minutes of everything by a few timed steps.

    Raises:
        UserError: a training does not fit.
    """
    plans = {training.name: _plan(demo, training) for training in demo.course.trainings}
    for name, (_, plan) in plans.items():
        for program in plan.programs:
            demo.say(f"{name}: {program.name}: {verdict(program)}")
    too_large = [name for name, (_, plan) in plans.items() if not plan.fits]
    if too_large:
        raise UserError(f"{demo.model}: {', '.join(too_large)} does not fit here; tl-jax plan says what would")
    rate = _speed(demo, plans["sft"][1])
    minutes = {name: steps * _operations(plan) / rate / 60 for name, (steps, plan) in plans.items()}
    minutes["each evaluation"] = _answering(demo) / rate / 60
    whole = sum(minutes.values()) + len(plans) * minutes["each evaluation"]
    told = ", ".join(f"{name} {value:.1f}" for name, value in minutes.items())
    demo.say(f"about {whole:.0f} minutes from here at {rate / 1e9:.0f} GFLOP/s, compilation not counted: {told}")


def _plan(demo: Demo, training: Training) -> tuple[int, Plan]:
    """How many steps a training has, and what it needs."""
    files, overrides = demo.settings(training)
    kind = SftConfig if training.command == "sft" else RlConfig
    config = load_config(kind, files, [*overrides, f"model.path={demo.model}"])  # what it starts from is not there yet
    assert isinstance(config, SftConfig | RlConfig)
    assert config.steps, "the course's settings say how many"
    return config.steps, make_plan(config, open_subject(config, None), this_machine())


def _speed(demo: Demo, plan: Plan) -> float:
    """Operations a second that supervised training does, as `tl_jax.training.speed` counts them, padding included."""
    files, overrides = demo.settings(demo.training("sft"))
    run_dir = demo.out / "timing"
    steps = TIMED + 1
    timed = (f"run_dir={run_dir}", f"steps={steps}", f"log_every={steps}", "data.batch_size=1", "accumulate=1")
    result = run_sft(load_config(SftConfig, files, [*overrides, "data.eval_path=null", *timed]))
    finished(result)
    shutil.rmtree(run_dir)
    return float(result["tokens_per_second"]) * plan.load.computed / plan.load.tokens


def _operations(plan: Plan) -> float:
    """Of one step: what is learnt from, and what is written before."""
    return plan.load.computed + plan.load.sampled


def _answering(demo: Demo) -> float:
    """Operations of answering every case at its full length."""
    config = demo.sft_config(demo.model)
    subject = open_subject(config, None)
    prompts, _ = encode_prompts(load_cases(demo.out / "data/cases.jsonl"), Codec.open(config.data.renderer, demo.model))
    lengths = [len(prompt.tokens) + demo.course.new_tokens for prompt in prompts]
    return flops(subject.config, sum(lengths), sum(length * length / 2 for length in lengths)) / 3
