"""What may change when a run goes on."""

from __future__ import annotations

from actors.settings import RUNNING_OF_LEARNER

MAY_CHANGE_ON_RESUME = (
    "run_dir",
    "cluster",
    "tracking",
    "alarms",
    "rollout.workers",
    "rollout.sequences_in_flight",
    "rollout.deadline_s",
    "rollout.seeded_sampling",
    "evaluation.traces",
    "evaluation.max_failed_call_share",
    "models.cache_dir",
    "citer.max_sequences",
    *(
        f"{engine}.engine.{key}"
        for engine in ("rollout", "teacher")
        for key in (
            "max_num_seqs",
            "block_size",
            "tensor_parallel",
            "gpu_memory_utilization",
            "kv_cache_gib",
            "enforce_eager",
        )
    ),
    "grading.workers",
    "grading.start_timeout_s",
    "grpo.checkpoint_every",
    "grpo.keep_checkpoints",
    *(f"learner.{key}" for key in RUNNING_OF_LEARNER),
)
"""keys that do not change what is learned (beyond rounding), so that a run may go on on other machines"""
