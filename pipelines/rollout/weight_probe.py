"""Do the engines hold the learner's weights? After a sync each engine writes a few tokens, and the learner scores them.

A checksum of an engine's weights would not say so, because vLLM packs them. A gap of the log-probs also shows weights that arrived
in part.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from ray.exceptions import RayError

from actors.engines.base import Generation, GenerationRequest
from actors.learner.batches import TokenSequences
from actors.learner.group import LearnerGroup
from actors.settings import SamplingSettings
from actors.trajectory import Float32
from cluster.deadlines import ROLLOUT_DEADLINE, results
from cluster.errors import RunError, as_raised
from pipelines.rollout.pool import RolloutPool

logger = logging.getLogger(__name__)

_TOKENS = 8
"""how many each engine writes after each text"""


class WeightsDifferError(RunError):
    """The engines do not compute what the learner does, whatever is sent to them."""


@dataclass(slots=True)
class WeightProbe:
    """Compares the rollout workers of a pool with the learner."""

    learner: LearnerGroup
    pool: RolloutPool
    bound: float
    """largest mean difference of a token's log-prob that rounding explains, in nats"""
    _requests: list[GenerationRequest] = field(default_factory=list)
    _all_replaced: bool = False
    """whether all engines were above the bound after the last sync, and were replaced"""

    def gaps(self) -> dict[str, float]:
        """Return, for each worker by name, the mean difference of a token's log-prob in nats. A worker that ends meanwhile is left out."""
        written = self._written()
        turns = list(itertools.chain.from_iterable(written.values()))
        if not turns:
            return {}
        prompts = [request.prompt_ids for request in self._asked()] * len(written)
        text = TokenSequences.of_prompts_and_targets(prompts, [turn.token_ids.tolist() for turn in turns])
        own = self.learner.logprobs(text)[text.loss_mask]
        gaps = np.abs(own - np.concatenate([turn.logprobs for turn in turns]))
        tokens = [sum(len(turn.token_ids) for turn in of_worker) for of_worker in written.values()]
        return {name: float(of_worker.mean()) for name, of_worker in zip(written, _split(gaps, tokens), strict=True)}

    def settle(self, send: Callable[[], None]) -> None:
        """Call it after a sync. Engines above the bound get the weights once more, by `send`, and are replaced if that does not help.

        Raises `WeightsDifferError` if no engine is within the bound, after they have all been replaced.
        """
        if not self._above(self.gaps()):
            self._all_replaced = False
            return
        logger.warning("the weights are sent again")
        send()
        gaps = self.gaps()
        above = self._above(gaps)
        all_differ = bool(gaps) and len(above) == len(gaps)
        if all_differ and self._all_replaced:
            raise WeightsDifferError(
                f"no rollout worker computes what the learner does, also after a restart: a token's log-probs differ by "
                f"{', '.join(f'{gap:.3g} nats ({name})' for name, gap in gaps.items())}, and rollout.probe_gap allows {self.bound:g}. "
                "If that is rounding (learner.dtype, rollout.engine.dtype), raise rollout.probe_gap, or set it to null"
            )
        self._all_replaced = all_differ
        for name in above:
            self.pool.replace(name)

    def _above(self, gaps: Mapping[str, float]) -> list[str]:
        above = [name for name, gap in gaps.items() if not gap <= self.bound]
        for name in above:
            logger.warning(
                "%s does not compute what the learner does: after a sync, a token's log-probs differ by %.3g nats on average, and "
                "rollout.probe_gap allows %g",
                name,
                gaps[name],
                self.bound,
            )
        return above

    def _asked(self) -> list[GenerationRequest]:
        if not self._requests:
            text = self.learner.probe_text()
            rows = np.split(text.token_ids, text.offsets[1:-1])
            sampling = SamplingSettings(temperature=1.0)
            self._requests = [
                GenerationRequest(row.tolist(), _TOKENS, sampling, want_logprobs=True, seed=0) for row in rows
            ]
        return self._requests

    def _written(self) -> dict[str, list[Generation]]:
        calls = {
            name: [engine.generate.remote(request) for request in self._asked()]
            for name, engine in self.pool.named_engines.items()
        }
        written = {}
        for name, own in calls.items():
            try:
                written[name] = results(
                    own, f"comparing {name} with the learner", self.pool.deadline_s, ROLLOUT_DEADLINE
                )
            except RayError as error:
                logger.warning("%s could not be compared with the learner: %s", name, as_raised(error))
        return written


def _split(values: Float32, lengths: list[int]) -> list[Float32]:
    return np.split(values, np.cumsum(lengths)[:-1])
