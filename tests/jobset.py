"""What a cluster takes for a JobSet: the part that launch/gke.yaml uses, in our words.

By the references of JobSet (https://jobset.sigs.k8s.io/docs/reference/jobset.v1alpha2) and of Kubernetes' Job v1. A
field that they do not know is dropped there, or the whole is refused; here it is an error.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

LONGEST_HOST = 63
"""characters of a host's name"""
CHANCE = "-abcde"
"""how the name of a pod ends"""

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Variable = Annotated[str, Field(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")]
RuleName = Annotated[str, Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
Count = Annotated[int, Field(ge=0, lt=2**31)]
ExitCode = Annotated[int, Field(ge=1, le=255)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Env(Strict):
    name: Variable
    value: str


class Mount(Strict):
    name: Name
    mountPath: Annotated[str, Field(pattern="^[^:]+$")]


class Resources(Strict):
    limits: dict[str, int | str]


class Container(Strict):
    name: Name
    image: str
    command: list[str]
    args: list[str]
    env: list[Env] = []
    resources: Resources
    volumeMounts: list[Mount] = []


class Claim(Strict):
    claimName: str


class Volume(Strict):
    name: Name
    persistentVolumeClaim: Claim


class PodSpec(Strict):
    restartPolicy: Literal["Never", "OnFailure"]  # of a Job's pods
    terminationGracePeriodSeconds: Count
    nodeSelector: dict[str, str]
    containers: Annotated[list[Container], Field(min_length=1)]
    volumes: list[Volume] = []

    @model_validator(mode="after")
    def _mounts_what_it_has(self) -> PodSpec:
        names = [volume.name for volume in self.volumes]
        assert all(mount.name in names for container in self.containers for mount in container.volumeMounts)
        return self


class Pod(Strict):
    spec: PodSpec


class OnExitCodes(Strict):
    containerName: Name
    operator: Literal["In", "NotIn"]
    values: Annotated[list[ExitCode], Field(min_length=1)]


class PodRule(Strict):
    action: Literal["FailJob", "FailIndex", "Ignore", "Count"]
    onExitCodes: OnExitCodes


class PodFailurePolicy(Strict):
    rules: list[PodRule]


class JobSpec(Strict):
    parallelism: Count
    completions: Count
    backoffLimit: Count
    podFailurePolicy: PodFailurePolicy
    template: Pod

    @model_validator(mode="after")
    def _policies_are_of_its_containers(self) -> JobSpec:
        pod = self.template.spec
        assert pod.restartPolicy == "Never"  # else there is no podFailurePolicy
        names = [container.name for container in pod.containers]
        assert all(rule.onExitCodes.containerName in names for rule in self.podFailurePolicy.rules)
        return self


class Job(Strict):
    spec: JobSpec


class ReplicatedJob(Strict):
    name: Name
    replicas: Count
    template: Job


class FailureRule(Strict):
    name: RuleName
    action: Literal[
        "FailJobSet",
        "RestartJobSet",
        "RestartJobSetAndIgnoreMaxRestarts",
        "RestartJob",
        "RestartJobAndIgnoreMaxRestarts",
    ]
    onJobFailureReasons: list[
        Literal[
            "BackoffLimitExceeded",
            "DeadlineExceeded",
            "FailedIndexes",
            "MaxFailedIndexesExceeded",
            "PodFailurePolicy",
        ]
    ]


class FailurePolicy(Strict):
    maxRestarts: Count
    rules: list[FailureRule]


class Metadata(Strict):
    name: Name
    annotations: dict[str, str] = {}


class JobSetSpec(Strict):
    failurePolicy: FailurePolicy
    replicatedJobs: Annotated[list[ReplicatedJob], Field(min_length=1)]


class JobSet(Strict):
    apiVersion: Literal["jobset.x-k8s.io/v1alpha2"]
    kind: Literal["JobSet"]
    metadata: Metadata
    spec: JobSetSpec

    @model_validator(mode="after")
    def _hosts_have_names(self) -> JobSet:
        for it in self.spec.replicatedJobs:
            last = f"{self.metadata.name}-{it.name}-{it.replicas - 1}-{it.template.spec.completions - 1}{CHANCE}"
            assert len(last) <= LONGEST_HOST, last
        return self
