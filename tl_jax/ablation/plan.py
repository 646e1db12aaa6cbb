"""What an ablation runs: stages, of which each is a command of its own, and what two variants share is one stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from tl_jax.ablation.contents import ITS_OWN, Contents, explicit
from tl_jax.addresses import full_name, shown
from tl_jax.bucket_files import profile_from
from tl_jax.config import ConfigError, MaeConfig, Node, PktConfig, RlConfig, RunConfig, SftConfig, load_config, to_yaml
from tl_jax.config.ablation import AblationConfig, AblationData, AblationTraining
from tl_jax.config.load import as_override
from tl_jax.config.variants import VARIANTS, Variant
from tl_jax.report.record import flat
from tl_jax.tooluse.text.spoken import Include

Kind: TypeAlias = Literal["data", "sft", "rl", "eval"]
Config = TypeVar("Config", bound=RunConfig)
BASE = "base"
"""In place of a variant: the model before any training."""
OFF: Mapping[str, tuple[str, Node]] = {
    "MAE": ("data.mae", MaeConfig.model_validate({"rule": "none"})),
    "PKT": ("data.pkt", PktConfig(mode="none")),
}
"""What switches a factor off; its other settings do not matter then, and are the defaults."""
HOW_MUCH = ("out", "variants", "seeds", "sweeps")
"""Settings that do not change what a stage does, only which there are."""


@dataclass(frozen=True)
class Stage:
    """One command, and the directory that it fills.

    Attributes:
        title: for people.
        key: of everything that decides what comes out; stages of one key are the same stage.
        directory: named by the key, too, so that a stage with other settings is another directory.
        words: of the command after ``tl-jax``.
        settings: YAML that the command reads, for trainings.
        needs: stages that have to be done before.
        variant: that is trained; of a supervised training without IRM, which comes after it.
    """

    kind: Kind
    title: str
    key: str
    directory: Path
    words: tuple[str, ...]
    settings: str = ""
    needs: tuple[Stage, ...] = ()
    variant: str = ""

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def log(self) -> Path:
        """What the command printed."""
        return self._beside("log")

    @property
    def settings_file(self) -> Path:
        return self._beside("yaml")

    @property
    def record(self) -> Path:
        """How long it took, and whether it is done."""
        return self._beside("json")

    def _beside(self, kind: str) -> Path:
        return self.directory.parents[1] / "stages" / f"{self.name}.{kind}"


@dataclass(frozen=True)
class AblationPlan:
    """The stages of an ablation.

    Attributes:
        stages: each once, those that others need before these; a whole set of variants before the next seed.
        cases: the file that is answered.
        include: parts of the data's messages that are written, too.
        base: the evaluation of the model before training.
        evaluations: of each variant and seed.
        trainings: of each variant and seed, the supervised one first.
        settings: all that decides what comes out and is not the default, by dotted keys; of trainings their own.
    """

    config: AblationConfig
    stages: tuple[Stage, ...]
    cases: Path
    include: tuple[Include, ...]
    base: Stage
    evaluations: Mapping[tuple[str, int], Stage]
    trainings: Mapping[tuple[str, int], tuple[Stage, ...]]
    settings: Mapping[str, Any]


def make_plan(config: AblationConfig) -> AblationPlan:
    """The stages of all variants and seeds.

    Raises:
        UserError: the settings of a training are wrong, a variant has a part that they leave out, or the data or a
            file of rewards cannot be read.
    """
    profile_from(config.eval.profile)
    return _Planner(config).plan()


class _Planner:
    def __init__(self, config: AblationConfig) -> None:
        self.config, self.stages, self.contents = config, dict[str, Stage](), Contents()
        data, anywhere = config.data, Path("train.jsonl")
        self.sft = self._settings(SftConfig, config.model, anywhere, 0, ())
        self.rl = self._settings(RlConfig, config.model, anywhere, 0, ()) if config.rl.files else None
        if self.rl:
            _check_formats(self.sft, self.rl)
        self.made: tuple[Stage, ...] = ()
        self.digests = dict[str, str]()
        if data.path is not None and data.cases is not None:
            self.path, self.cases = data.path, data.cases
            self.digests = {name: self.contents.digest(getattr(data, name)) for name in ("path", "cases")}
        else:
            self.made = (self._world(data),)
            self.path, self.cases = (self.made[0].directory / name for name in ("train.jsonl", "cases.jsonl"))

    def plan(self) -> AblationPlan:
        model = full_name(self.config.model)
        base = self._evaluation(BASE, model, [shown(self.config.model)], self.made)
        trainings, evaluations = {}, {}
        for seed in self.config.seeds:
            for variant in map(VARIANTS.find, self.config.variants):
                chain = trainings[variant.name, seed] = self._trainings(variant, seed)
                trained, title = chain[-1], f"{variant.name} seed {seed}"
                evaluations[variant.name, seed] = self._evaluation(title, str(trained.directory), [], (trained,))
        return AblationPlan(
            config=self.config,
            stages=tuple(self.stages.values()),
            cases=self.cases,
            include=self.sft.data.include,
            base=base,
            evaluations=evaluations,
            trainings=trainings,
            settings=self._decisive(),
        )

    def _decisive(self) -> dict[str, Any]:
        own = explicit(self.config, *HOW_MUCH, "sft", "rl")
        trainings = {"sft": self.sft, "rl": self.rl}
        trees = {name: self.contents.settings(config) for name, config in trainings.items() if config}
        return flat({**own, "contents": self.digests, **trees})

    def _world(self, data: AblationData) -> Stage:
        assert data.world is not None  # a validator has seen to it
        world = data.world.effective()
        stage = self._stage("data", "world", [explicit(world), data.seed])
        files = ("--config", str(stage.settings_file), "--out", str(stage.directory))
        words = ("world", *files, "--seed", str(data.seed))
        return self._add(replace(stage, words=words, settings=to_yaml(world)))

    def _trainings(self, variant: Variant, seed: int) -> tuple[Stage, ...]:
        off = [factor for factor in OFF if factor not in variant.factors]
        config = self._settings(SftConfig, self.config.model, self.path, seed, off)
        _check_switches(variant, config)
        name = "+".join(factor for factor in OFF if factor in variant.factors) or "SFT"
        sft = self._training("sft", name, config, self.made)
        if "IRM" not in variant.factors:
            return (sft,)
        off = [factor for factor in off if factor == "MAE"]  # which also says what is a gold answer; PKT is of losses
        rl_config = self._settings(RlConfig, sft.directory, self.path, seed, off)
        return sft, self._training("rl", variant.name, rl_config, (sft, *self.made))

    def _settings(self, kind: type[Config], model: Path, data: Path, seed: int, off: Sequence[str]) -> Config:
        """The settings of a training, which are checked."""
        name = "sft" if issubclass(kind, SftConfig) else "rl"
        training: AblationTraining = getattr(self.config, name)
        if not training.files:
            raise ConfigError(f"{name}.files: name the settings of the training, configs/{name}.yaml for instance")
        paths = {"run_dir": "run", "model.path": full_name(model), "data.path": shown(data), "seed": seed}
        for key in flat(training.settings):
            if key in ITS_OWN:
                raise ConfigError(f"{name}.settings.{key}: an ablation sets it by its {ITS_OWN[key]}; leave it out")
        switches = {OFF[factor][0]: OFF[factor][1].model_dump(mode="json") for factor in off}
        given = [*training.settings.items(), *paths.items(), *switches.items()]
        return load_config(kind, training.files, [as_override(key, value) for key, value in given])

    def _training(self, kind: Kind, variant: str, config: RunConfig, needs: tuple[Stage, ...]) -> Stage:
        given = [shown(self.config.model)] if kind == "sft" else []
        decided = [self.contents.settings(config), *given, self.digests.get("path")]
        stage = self._stage(kind, f"{variant} seed {config.seed}", decided, needs)
        settings = to_yaml(config.model_copy(update={"run_dir": stage.directory}))
        words = (kind, "--config", str(stage.settings_file))
        return self._add(replace(stage, words=words, settings=settings, variant=variant))

    def _evaluation(self, title: str, model: str, given: Sequence[str], needs: tuple[Stage, ...]) -> Stage:
        how = self.config.eval.model_dump(mode="json", exclude={"profile"}, exclude_none=True)
        options = {"renderer": self.sft.data.renderer, **how, "format": self.config.data.format}
        flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        flags += [word for part in self.sft.data.include for word in ("--include", part)]
        if name := self.sft.data.chat_template:
            flags += ["--chat-template", name]
        for key, value in self.sft.data.chat_template_kwargs.items():
            flags += ["--template-arg", as_override(key, value)]
        stage = self._stage("eval", title, [flags, *given, self.digests.get("cases")], needs)
        words = ("eval", "--model", model, "--cases", shown(self.cases), "--out", str(stage.directory), *flags)
        return self._add(replace(stage, words=words))

    def _stage(self, kind: Kind, title: str, decided: Sequence[Any], needs: tuple[Stage, ...] = ()) -> Stage:
        """A stage without its command."""
        text = json.dumps([kind, decided, [stage.key for stage in needs]], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        name = f"{kind}-{title.replace(' ', '-')}-{key[:8]}"
        return Stage(kind, f"{kind} {title}", key, self.config.out / kind / name, (), needs=needs)

    def _add(self, stage: Stage) -> Stage:
        """The stage; where one of the same key is planned, that one."""
        return self.stages.setdefault(stage.key, stage)


def _check_formats(sft: SftConfig, rl: RlConfig) -> None:
    """
    Raises:
        ConfigError: what the first training teaches is not what the second asks for.
    """
    first, second = (data.model_dump(mode="json") for data in (sft.data, rl.data))
    for key in ("renderer", "include"):
        if first[key] != second[key]:
            raise ConfigError(
                f"sft says data.{key}={first[key]}, and rl data.{key}={second[key]}; a variant is trained and asked in "
                "one format: say the same in both"
            )


def _check_switches(variant: Variant, config: SftConfig) -> None:
    """
    Raises:
        ConfigError: the settings have nothing for a part that the variant has.
    """
    for factor, key, value in (
        ("MAE", "mae.rule", config.data.mae.rule.name),
        ("PKT", "pkt.mode", config.data.pkt.mode),
    ):
        if factor in variant.factors and value == "none":
            raise ConfigError(f"variant {variant.name}: sft says data.{key}=none; name what {factor} means there")
