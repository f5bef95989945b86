"""Settings of the relay server: one YAML file is one server."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from actors.engines.endpoint import PerhapsServed
from actors.relay.usage import Prices
from actors.serving.guards.settings import GuardSettings
from actors.settings import EngineSettings, RelayLimits, SamplingSettings
from cluster.devices import Device
from cluster.settings import HomePath, Seed, Settings, name_with_home

ModelPath = Annotated[str, AfterValidator(name_with_home)]


class ServedModelSettings(Settings):
    """One served model, and how many engines serve it."""

    path: ModelPath = Field(description="a folder in Hugging Face format, or a hub name")
    engine: EngineSettings = EngineSettings()
    replicas: int = Field(1, ge=1, description="engines; each is a Serve replica that restarts on its own")


class ServedTeacherSettings(PerhapsServed):
    """The served teacher: engines of this server, or another server that has it already."""

    path: ModelPath | None = Field(None, description="a folder in Hugging Face format, or a hub name")
    engine: EngineSettings = Field(EngineSettings(), description="with a url, its max_model_len alone counts")
    replicas: int = Field(1, ge=1, description="engines; 1 with a url, which starts none")
    cache: HomePath | None = Field(
        None, description="folder in which the answers of a teacher behind a url are kept; a call is then made once"
    )

    @property
    def local(self) -> ServedModelSettings | None:
        """The model that this server starts itself; None for a teacher behind a url."""
        if self.path is None:
            return None
        return ServedModelSettings(path=self.path, engine=self.engine, replicas=self.replicas)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either path, or url with model; to replace one that a file sets, set it to null")
        if self.url is not None and self.replicas != 1:
            raise ValueError(f"replicas ({self.replicas}) should be 1 with a url: that server has its own")
        if self.url is None and self.cache is not None:
            raise ValueError(f"cache ({self.cache}) should be empty without url: own engines have a prefix cache")
        return self


class ServedSamplingSettings(Settings):
    """Sampling of requests that do not set their own temperature, top_p or top_k."""

    student: SamplingSettings = SamplingSettings()
    teacher: SamplingSettings = SamplingSettings()


class HttpSettings(Settings):
    """Where the server listens. Ray's own token does not protect it."""

    host: str = Field("127.0.0.1", min_length=1, description="address to bind; 0.0.0.0 is every network of the machine")
    port: int = Field(8000, ge=0, le=65535, description="0 takes a free port, which the ready line names")


class OutageSettings(Settings):
    """When the teacher counts as away, and how it comes back."""

    failures: int = Field(3, ge=1, description="failed calls in a row after which the student answers alone")
    probe_s: float = Field(5.0, gt=0.0, description="seconds between attempts to reach a teacher that is away")


class Memory(StrEnum):
    """What the models see of a conversation."""

    CONVERSATION = "conversation"
    """all of it"""
    QUESTION = "question"
    """the newest question alone, with what comes before all questions, such as a system message"""


class ServerSettings(Settings):
    """One relay server."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="id of the relay model; <name>/student and <name>/teacher are the two models alone",
    )
    student: ServedModelSettings
    teacher: ServedTeacherSettings | None = Field(None, description="if empty, the student answers alone")
    prompt_suffix: str = Field(
        "", description="added to every user message of a chat, as data.prompt_suffix is in training"
    )
    memory: Memory = Field(
        Memory.CONVERSATION,
        description="what the models see of a conversation: `conversation`, all of it; or `question`, the newest question alone, "
        "for a student that learned nothing but single questions, as the demo's",
    )
    limits: RelayLimits = Field(
        RelayLimits(teacher_timeout_s=30.0), description="what a request gets that asks for nothing, or for more"
    )
    sampling: ServedSamplingSettings = ServedSamplingSettings()
    prices: Prices = Prices()
    currency: str = Field("USD", min_length=1, description="unit of the prices")
    outage: OutageSettings = OutageSettings()
    device: Device = Field(Device.CPU, description="what the engines run on")
    engine_threads: int = Field(1, ge=1, description="threads of each engine on the CPU")
    cpus_per_replica: float = Field(1.0, ge=0.0, description="logical CPUs that Ray reserves for each replica")
    parts_per_s: float = Field(
        500.0,
        gt=0.0,
        description="parts of answers that a replica sends in a second, over all its streams: with many streams, several tokens "
        "leave together, but no stream waits longer than a quarter of a second. First texts, calls and ends go out at once, "
        "beside them",
    )
    ingress_replicas: int = Field(1, ge=1, description="processes that speak HTTP; each has its own /metrics")
    http: HttpSettings = HttpSettings()
    guards: GuardSettings = GuardSettings()
    deadline_s: float = Field(600.0, gt=0.0, description="longest time of one request; past it the answer is a 504")
    start_timeout_s: float = Field(600.0, gt=0.0, description="longest start of all replicas")
    examples: list[str] = Field([], description="questions that the page offers")
    seed: Seed = Field(0, description="of the engines' own random numbers, for requests without a seed")

    @model_validator(mode="after")
    def _room(self) -> Self:
        room = self.student.engine.max_model_len
        if self.limits.max_new_tokens >= room:
            raise ValueError(
                f"limits.max_new_tokens ({self.limits.max_new_tokens}) should be below student.engine.max_model_len "
                f"({room}), which holds the prompt too"
            )
        return self

    @model_validator(mode="after")
    def _reservations_last(self) -> Self:
        if self.guards.reservation_s <= self.deadline_s:
            raise ValueError(
                f"guards.reservation_s ({self.guards.reservation_s:g}) should be above deadline_s ({self.deadline_s:g}): else "
                "another request could use what a long answer has reserved"
            )
        return self

    @property
    def teacher_tokenizer(self) -> str:
        """Where the teacher's tokenizer is. The student's stands for it if none is known."""
        teacher = self.teacher
        return (teacher and (teacher.path or teacher.tokenizer)) or self.student.path

    @property
    def teacher_context_tokens(self) -> int:
        """How long a context of the teacher may be."""
        return (self.teacher or self.student).engine.max_model_len

    @property
    def without_secrets(self) -> dict[str, Any]:
        """All settings as JSON, without what identifies API keys."""
        return self.model_dump(mode="json", exclude={"guards": {"keys": {"__all__": {"key_env", "key_sha256"}}}})

    @property
    def limits_in_force(self) -> RelayLimits:
        """The limits; without a teacher, no calls."""
        return self.limits if self.teacher is not None else self.limits.model_copy(update={"max_calls": 0})
