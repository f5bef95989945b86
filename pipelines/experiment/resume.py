"""The settings that may change when a run is resumed."""

from __future__ import annotations

from actors.settings import RUNNING_OF_LEARNER

MAY_CHANGE_ON_RESUME = (
    "run_dir",
    "cluster",
    "tracking",
    "alarms",
    "grpo.on_alarm",
    "grpo.most_roll_backs",
    "rollout.workers",
    "rollout.min_workers",
    "rollout.sequences_in_flight",
    "rollout.deadline_s",
    "rollout.seeded_sampling",
    "rollout.probe_gap",
    "evaluation.traces",
    "evaluation.call_ratio_budget",
    "evaluation.max_failed_call_share",
    "models.cache_dir",
    "models.teacher.api_key_env",
    "evaluation.teacher.api_key_env",
    "teacher.replicas",
    "teacher.cache",
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
    "grpo.teacher_outage_s",
    *(f"learner.{key}" for key in RUNNING_OF_LEARNER),
)
"""keys that change what is learned by rounding at most, so that a run can be resumed on other machines"""
