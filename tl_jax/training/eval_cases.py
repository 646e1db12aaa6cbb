"""What a model that is being trained answers to a fixed sample of cases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import jax

from tl_jax.addresses import full_name
from tl_jax.config import SamplingConfig, SftConfig
from tl_jax.data.codec import Codec
from tl_jax.data.prompts import Prompt, encode_prompts, load_cases, spread
from tl_jax.errors import UserError
from tl_jax.files import write_json, write_lines
from tl_jax.inference.engine import Listener
from tl_jax.inference.room import ContextRoom
from tl_jax.inference.sampler import Sampler
from tl_jax.model.config import LlamaConfig
from tl_jax.model.parameters import Params
from tl_jax.tooluse.metrics import Summary, score_prediction, summarise
from tl_jax.tooluse.notes import Notes
from tl_jax.tooluse.readers.predictions import PREDICTIONS, SETTINGS
from tl_jax.tooluse.rewards.writable import unwritable_gold
from tl_jax.training.distributed import agreed, is_main
from tl_jax.training.logs import EVAL
from tl_jax.training.run import Run
from tl_jax.training.stop import Interrupted

FOLDER = "eval_cases"
"""Where a run directory has the latest answers, as `tl-jax eval` leaves them."""


def sampling_of(config: SftConfig) -> SamplingConfig:
    """Greedy, as long and as many at once as ``config.eval_cases`` says."""
    chosen = config.eval_cases
    return SamplingConfig(max_new_tokens=chosen.max_new_tokens, temperature=0.0, batch_size=chosen.batch_size)


def load_sample(config: SftConfig, codec: Codec, model: LlamaConfig) -> tuple[list[Prompt], str]:
    """The cases that are answered, and a line about them and about those that cannot be; none where none are asked for.

    Raises:
        UserError: a file that cannot be read, or one without a case that can be answered and scored.
    """
    chosen = config.eval_cases
    if chosen.path is None:
        return [], ""
    notes = Notes(chosen.unknown)
    cases = load_cases(chosen.path, chosen.format, notes=notes, include=config.data.include)
    scored = [case for case in cases if case.has_gold]
    unwritable = unwritable_gold(scored, codec.writer, "skip")
    limit = ContextRoom(model.max_position_embeddings, chosen.max_new_tokens, chosen.max_prompt_length).tokens
    prompts, too_long = encode_prompts([case for case in scored if unwritable.keeps(case)], codec, limit)
    sample = spread(prompts, chosen.count)
    report = (
        f"eval_cases: {len(sample)} of the {len(prompts)} cases of {chosen.path} that can be answered; {too_long} more "
        f"have a prompt of more than {limit} tokens, {len(cases) - len(scored)} no gold call"
    )
    report = "; ".join(line for line in (report, unwritable.line(), *notes.lines()) if line)
    if not sample:
        raise UserError(f"no case is left: {report}")
    return sample, report


class EvalCases:
    """TS, PI and CF of greedy answers, and the share of each outcome, at some step of a run.

    Args:
        run: entered; its log is told, and its directory has the latest answers.
        config: of the run.
        sampler: answers greedily.
        prompts: what is answered; none = nothing is.
    """

    def __init__(self, run: Run, config: SftConfig, sampler: Sampler, prompts: Sequence[Prompt]) -> None:
        self._run, self._config, self._sampler, self._prompts = run, config, sampler, prompts

    def __call__(self, step: int, params: Params) -> dict[str, float]:
        """``eval_TS``, ``eval_PI``, ``eval_CF`` in %, ``eval_outcome/NAME``; nothing where there are no prompts.

        Raises:
            Interrupted: a signal came; this evaluation is made when the run goes on.
        """
        if not self._prompts:
            return {}
        self._run.log.busy(f"step {step}: {len(self._prompts)} cases are answered")
        tokens = [prompt.tokens for prompt in self._prompts]
        with self._sampler.serving(params):
            generation = self._sampler.generate(tokens, jax.random.key(0), Listener(self._halt))
        answers = self._sampler.texts(generation)
        if is_main():
            self._write(step, answers)
        pairs = zip(answers, self._prompts, strict=True)
        summary = summarise(score_prediction(answer, prompt.case) for answer, prompt in pairs)
        self._run.log.line(f"step {step}: {_described(summary)}")
        shares = {f"outcome/{name}": count / summary.cases for name, count in summary.errors.items()}
        figures = {"TS": summary.ts, "PI": summary.pi, "CF": summary.cf, **shares}
        return {f"{EVAL}{name}": value for name, value in figures.items()}

    def _halt(self) -> None:
        """Ends the evaluation between two batches, in all processes, where the first of them got a signal."""
        if agreed(lambda: self._run.stopped_by is not None):
            raise Interrupted

    def _write(self, step: int, answers: Sequence[str]) -> None:
        home, config, cases = self._run.directory / FOLDER, self._config, self._config.eval_cases.path
        rows: list[dict[str, Any]] = [
            {"id": prompt.case.id, "prediction": answer} for prompt, answer in zip(self._prompts, answers, strict=True)
        ]
        write_lines(home / PREDICTIONS, (json.dumps(row, ensure_ascii=False) for row in rows))
        made = {
            "model": full_name(self._run.directory),
            "step": step,
            "cases": str(cases.resolve() if cases and cases.exists() else cases),
            "renderer": config.data.renderer,
            "dtype": config.model.dtype,
        }
        write_json(home / SETTINGS, made | self._sampler.sampling.model_dump(exclude={"batch_size"}))


def _described(summary: Summary) -> str:
    shares = (summary.ts, summary.pi, summary.cf)
    intervals = (summary.ts_interval, summary.pi_interval, summary.cf_interval)
    parts = [
        f"{name} {share:.1f} % ({low:.0f}-{high:.0f})"
        for name, share, (low, high) in zip(("TS", "PI", "CF"), shares, intervals, strict=True)
    ]
    return f"{', '.join(parts)} of {summary.cases} cases, answered greedily"
