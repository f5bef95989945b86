"""How fast the parts of a run are: from model shapes and data sheets, or from a run that was measured."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.experiment.schema import Experiment
from pipelines.memory.model_size import ModelSize
from pipelines.planner.hardware import Gpu, Reached

_BF16 = 2


@dataclass(frozen=True, slots=True)
class EngineRates:
    """The time of an engine's steps. A step writes one token of each of its sequences."""

    step_s: float
    """of every step, whatever it holds"""
    weights_s: float = 0.0
    """of reading the weights, once for all sequences"""
    cache_s: float = 0.0
    """of reading one sequence's keys and values"""
    compute_s: float = 0.0
    """of computing one sequence's token"""
    prefill_s: float = 0.0
    """of each token that is read and not in the cache"""

    def step(self, sequences: int) -> float:
        """Return the seconds of one step with so many sequences: limited by memory or by arithmetic."""
        return self.step_s + max(self.weights_s + sequences * self.cache_s, sequences * self.compute_s)


@dataclass(frozen=True, slots=True)
class LearnerRates:
    """The time of the learner's work."""

    token_s: float
    """of one packed token on one rank, forward and backward"""
    exchange_s: float = 0.0
    """of one optimizer step besides: summing the gradients over the ranks, and the step"""


@dataclass(frozen=True, slots=True)
class Rates:
    """All that a simulation of a run needs to know about speed."""

    student: EngineRates
    teacher: EngineRates
    learner: LearnerRates
    hop_s: float
    grading_s: float
    """of one answer in one grading process"""
    sync_s: float
    """of new weights' way to all rollout engines"""


def engine_rates(model: ModelSize, gpu: Gpu, gpus: int, context: float, reached: Reached) -> EngineRates:
    """Return the rates of one engine over `gpus` GPUs, for sequences with `context` tokens on average."""
    bandwidth, flops = gpu.bandwidth * reached.decode_bandwidth * gpus, gpu.flops * gpus
    return EngineRates(
        step_s=reached.engine_step_s,
        weights_s=model.parameters * _BF16 / bandwidth,
        cache_s=model.kv_bytes(1, _BF16) * context / bandwidth,
        compute_s=2 * model.parameters / (flops * reached.decode_flops),
        prefill_s=2 * model.parameters / (flops * reached.prefill_flops),
    )


def learner_rates(experiment: Experiment, model: ModelSize, gpu: Gpu, ranks: int, reached: Reached) -> LearnerRates:
    """Return the rates of the learner. A token costs 6 operations a weight; recomputed activations and a reference cost 2 each."""
    operations = 6 + 2 * experiment.learner.gradient_checkpointing + 2 * (experiment.grpo.loss.kl_coefficient > 0)
    token_s = operations * model.parameters / (gpu.flops * reached.learner_flops)
    # A ring moves each gradient, in float32, twice through every rank's network.
    exchange_s = 2 * model.parameters * 4 / reached.network * (ranks - 1) / ranks
    return LearnerRates(token_s, exchange_s)


def sheet_rates(
    experiment: Experiment, student: ModelSize, teacher: ModelSize, gpu: Gpu, context: float, reached: Reached
) -> Rates:
    """Return the rates of an experiment on a kind of GPU, from its data sheet."""
    return Rates(
        student=engine_rates(student, gpu, experiment.rollout.engine.tensor_parallel, context, reached),
        teacher=engine_rates(teacher, gpu, experiment.teacher.engine.tensor_parallel, context, reached),
        learner=learner_rates(experiment, student, gpu, experiment.learner.ranks, reached),
        hop_s=reached.hop_s,
        grading_s=reached.answer_grading_s,
        sync_s=student.parameters * _BF16 / reached.network,
    )
