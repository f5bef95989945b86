"""Settings of the actors: engines, sampling, relay limits, learner, optimizer and loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from cluster.settings import ActorCount, Seconds, Settings


class SamplingSettings(Settings):
    """How an engine draws tokens. In training, `top_p` must be 1 and `top_k` off; else importance ratios are biased."""

    temperature: float = Field(1.0, ge=0.0, le=2.0, description="0 is greedy; else from 0.01 to 2, as vLLM requires")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="nucleus sampling; 1 is off")
    top_k: int = Field(-1, ge=-1, description="-1 is off")

    @field_validator("temperature")
    @classmethod
    def _as_vllm_takes_it(cls, temperature: float) -> float:
        if 0.0 < temperature < 0.01:
            raise ValueError(
                "should be 0, which is greedy, or from 0.01 to 2: vLLM would use 0.01 for values in between"
            )
        return temperature

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0


class RelayLimits(Settings):
    """Limits of one relayed sequence."""

    max_new_tokens: int = Field(
        8192, gt=0, le=10_000_000, description="output tokens, including the teacher's and those of commands"
    )
    max_calls: int = Field(
        3,
        ge=0,
        le=1_000_000,
        description="executed calls per trajectory; past this limit, commands are forbidden in decoding",
    )
    call_tokens: int | None = Field(
        None,
        gt=0,
        description="every executed call asks for this number of tokens, whatever n its command says (the baseline with a "
        "fixed length); if empty, the command's n counts",
    )
    teacher_timeout_s: Seconds = Field(120.0, description="deadline of one call; past it the student goes on alone")


class EngineSettings(Settings):
    """Settings of one vLLM engine."""

    dtype: Literal["float32", "bfloat16"] = Field("bfloat16", description="of weights and activations")
    max_model_len: int = Field(16384, gt=0, le=10_000_000, description="tokens of prompt and output together")
    max_num_seqs: int = Field(256, gt=0, le=100_000, description="sequences decoded at the same time")
    block_size: int | None = Field(
        None, gt=0, le=65_536, description="tokens per prefix-cache block; the engine's default if empty"
    )
    tensor_parallel: int = Field(1, ge=1, le=1024, description="GPUs of one engine")
    gpu_memory_utilization: float = Field(
        0.9, gt=0.0, le=1.0, description="part of a whole GPU's memory that the engine takes"
    )
    kv_cache_gib: float = Field(
        1.0,
        gt=0.0,
        le=100_000.0,
        description="host memory of the KV cache, for engines on the CPU; the engine takes all of it when it starts",
    )
    enforce_eager: bool = Field(False, description="no graph capture and no compilation: faster start, slower steps")


Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class OptimizerSettings(Settings):
    """AdamW with gradient clipping and a learning-rate schedule."""

    lr: float = Field(1e-6, gt=0.0, description="learning rate, after the ramp")
    weight_decay: float = Field(0.01, ge=0.0, description="AdamW's decoupled weight decay")
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="AdamW's decay of both moments")
    eps: float = Field(1e-8, gt=0.0, description="added to the root of AdamW's second moment")
    max_grad_norm: float = Field(1.0, gt=0.0, description="longer gradients are scaled down to it")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="course of the rate after the ramp; linear and cosine reach 0 after the last step"
    )
    ramp_steps: int = Field(0, ge=0, description="optimizer steps of linear increase from 0 to lr")


class LearnerSettings(Settings):
    """The DeepSpeed learner: how the model is spread over ranks, and how tokens are packed."""

    ranks: ActorCount = Field(1, description="processes that share the work")
    zero_stage: Literal[0, 1, 2, 3] = Field(
        2, description="what the ranks share out: nothing, optimizer states, gradients too, weights too"
    )
    dtype: Literal["float32", "bfloat16"] = Field("bfloat16", description="of weights and activations")
    max_tokens_per_micro_batch: int = Field(16384, gt=0, description="most tokens of one packed forward pass")
    logprob_chunk_tokens: int = Field(
        1024, gt=0, description="most positions whose vocabulary logits exist at one time"
    )
    logprob_chunk_mib: int = Field(
        256, gt=0, description="most memory of those logits; a larger vocabulary has smaller chunks"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations again in the backward pass: a third more time, far less memory"
    )
    torch_compile: bool = Field(
        False, description="compile norms and MLPs to fused kernels; the first steps take minutes. Not with ZeRO-3"
    )
    liger_kernels: bool = Field(
        False, description="use Liger's Triton kernels for norms, rotary embedding and MLPs; GPUs only"
    )
    offload_optimizer: bool = Field(
        False,
        description="keep optimizer states and step on the host: less GPU memory, slower steps; needs ZeRO 1 to 3",
    )
    deadline_s: Seconds = Field(
        3600.0,
        description="time limit of one call of the learner, such as a GRPO step or a checkpoint; past it the learner starts again",
    )
    max_non_finite_steps: int = Field(
        10, ge=1, description="the run stops after this many optimizer steps in a row whose gradient is not finite"
    )

    @model_validator(mode="after")
    def _can_work(self) -> LearnerSettings:
        if self.torch_compile and self.zero_stage == 3:
            raise ValueError(
                "torch_compile should be false with zero_stage 3, which gathers parameters in hooks that cannot be compiled"
            )
        if self.torch_compile and self.liger_kernels:
            raise ValueError("one of torch_compile and liger_kernels should be false: both replace norms and MLPs")
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("offload_optimizer should be false with zero_stage 0: offloading is a part of ZeRO 1 to 3")
        return self


RUNNING_OF_LEARNER = (
    "ranks",
    "zero_stage",
    "max_tokens_per_micro_batch",
    "logprob_chunk_tokens",
    "logprob_chunk_mib",
    "gradient_checkpointing",
    "torch_compile",
    "liger_kernels",
    "offload_optimizer",
    "deadline_s",
    "max_non_finite_steps",
)
"""settings of the learner that affect time, memory and when to give up, but change results by rounding only"""


class GrpoLossSettings(Settings):
    """The GRPO objective (paper section 2.3); defaults are the released settings."""

    clip_low: float = Field(0.2, gt=0.0, lt=1.0, description="ratios below 1 - clip_low are clipped")
    clip_high: float = Field(0.2, gt=0.0, description="ratios above 1 + clip_high are clipped")
    dual_clip: float | None = Field(
        None, gt=1.0, description="bound on the loss where the advantage is negative; off if empty"
    )
    tis_cap: float | None = Field(
        None,
        ge=1.0,
        description="truncated importance sampling: upper bound of a token's weight, proximal / behaviour policy; off if empty",
    )
    kl_coefficient: float = Field(
        0.01, ge=0.0, description="weight of the k3 estimate of the KL to the warm-up policy; 0 loads no reference"
    )
    aggregation: Literal["token_mean", "sequence_mean"] = Field(
        "token_mean", description="whether every token of a mini-batch counts the same, or every sequence"
    )
    train_teacher_tokens: bool = Field(False, description="put teacher tokens in the loss, as the released code does")
