"""What every logged number means: name -> unit and meaning."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """The documentation of one metric; `unit` is "1" for a plain number and "share" for a part of a whole, 0 to 1."""

    unit: str
    meaning: str


METRICS: dict[str, Metric] = {
    "rollout/accuracy": Metric("share", "trajectories whose final answer is right"),
    "rollout/call_ratio": Metric("share", "teacher-written tokens of all output tokens, pooled over the trajectories"),
    "rollout/call_ratio_mean": Metric("share", "mean over the trajectories of each one's call ratio"),
    "rollout/calls_per_sample": Metric("calls", "executed calls per trajectory"),
    "rollout/with_call_share": Metric("share", "trajectories with at least one call, answered or not"),
    "rollout/requested_mean": Metric("tokens", "what an executed call asks for: n, or the fixed length"),
    "rollout/written_mean": Metric("tokens", "tokens that the teacher wrote in an executed call"),
    "rollout/teacher_prompt_tokens_mean": Metric(
        "tokens", "the teacher's context in an executed call, which it has to prefill"
    ),
    "rollout/teacher_cached_share": Metric("share", "tokens of the teacher's contexts that its prefix cache held"),
    "rollout/malformed_per_sample": Metric("commands", "commands without a readable n, not executed, per trajectory"),
    "rollout/zero_per_sample": Metric("commands", "commands with n = 0, not executed, per trajectory"),
    "rollout/unterminated_per_sample": Metric("commands", "commands begun but never closed, per trajectory"),
    "rollout/over_limit_per_sample": Metric(
        "commands", "commands begun where they are forbidden, and removed again, per trajectory"
    ),
    "rollout/failed_calls": Metric("calls", "calls that the teacher failed or did not answer in time"),
    "rollout/failed_call_share": Metric("share", "calls that failed"),
    "rollout/scenario_student_solvable_share": Metric("share", "groups with a right trajectory without a call"),
    "rollout/scenario_teacher_dependent_share": Metric("share", "groups whose right trajectories all have a call"),
    "rollout/scenario_teacher_unsolvable_share": Metric("share", "groups without a right trajectory"),
    "rollout/output_tokens_mean": Metric("tokens", "output per trajectory: student, command and teacher tokens"),
    "rollout/trainable_share": Metric(
        "share", "trajectories without a failed call; with `reward.cut_off: excluded` also not cut off"
    ),
    "rollout/teacher_ended_share": Metric("share", "trajectories whose end of text the teacher wrote"),
    "rollout/cut_off_share": Metric("share", "trajectories that ended at a limit and not by an end of text"),
    "rollout/late_groups": Metric("groups", "groups that were ordered for an earlier step, see `grpo.extra_prompts`"),
    "rollout/groups_again": Metric("groups", "groups that were decoded again, see `grpo.teacher_outage_s`"),
    "reward/mean": Metric("1", "mean reward of the trajectories"),
    "reward/std": Metric("1", "standard deviation of the rewards over all trajectories of the step"),
    "reward/zero_advantage_group_share": Metric("share", "groups of equal rewards, which teach nothing"),
    "reward/grading_timeouts": Metric(
        "answers", "answers whose check was stopped at its deadline and counted as wrong"
    ),
    "learner/loss": Metric("1", "the objective that was minimised: policy-gradient loss and weighted KL"),
    "learner/pg_loss": Metric("1", "the clipped policy-gradient part of the loss"),
    "learner/kl": Metric(
        "nats",
        "k3 estimate of the KL to the warm-up policy, per trained token; not measured without `grpo.loss.kl_coefficient`",
    ),
    "learner/entropy": Metric("nats", "entropy of the policy's next-token distribution, per trained token"),
    "learner/clip_fraction": Metric("share", "trained tokens whose ratio was clipped"),
    "learner/ratio_mean": Metric(
        "1",
        "mean ratio of new to old probability of the trained tokens; old is the proximal one with `grpo.loss.tis_cap`",
    ),
    "learner/ratio_max": Metric("1", "largest ratio of new to old probability of the trained tokens"),
    "learner/tis_weight_mean": Metric(
        "1", "mean weight of truncated importance sampling; 1 without `grpo.loss.tis_cap`"
    ),
    "learner/tis_ratio_max": Metric(
        "1", "largest ratio of proximal to sampling probability, before it is truncated to a weight"
    ),
    "learner/tis_truncated_share": Metric("share", "trained tokens whose weight was cut to the cap"),
    "learner/logprob_gap": Metric(
        "nats",
        "mean absolute difference of learner's and engine's log-probs; both have the same weights if no token is stale",
    ),
    "learner/behaviour_kl": Metric("nats", "k3 estimate of KL(sampling policy || policy), per trained token"),
    "learner/staleness": Metric(
        "versions", "mean of the learner's policy version minus the version that sampled the token"
    ),
    "learner/staleness_max": Metric("versions", "largest staleness of the trained tokens"),
    "learner/optimizer_steps": Metric(
        "steps", "steps taken: mini-batches with something to learn from and a finite gradient"
    ),
    "learner/non_finite_steps": Metric(
        "steps", "steps left out because the gradient was not finite; no other metric of the learner counts them"
    ),
    "learner/skipped_rows": Metric(
        "trajectories", "trajectories left out: no advantage and no KL term, or not trainable"
    ),
    "learner/policy_tokens": Metric("tokens", "student-written tokens of all rows: the denominator of the token mean"),
    "learner/teacher_tokens": Metric("tokens", "teacher-written tokens, context that is not trained by default"),
    "learner/context_tokens": Metric("tokens", "all tokens that went through the model"),
    "learner/grad_norm": Metric("1", "gradient norm before clipping"),
    "learner/lr": Metric("1", "learning rate of the step"),
    "learner/trained_tokens": Metric("tokens", "student-written tokens in the loss"),
    "learner/micro_batches": Metric("batches", "packed forward passes of the step, over all ranks"),
    "relay/accuracy_within_budget": Metric(
        "share",
        "what a sweep maximises: the relay student's accuracy, averaged over the kinds of problem; times "
        "`evaluation.call_ratio_budget` / call ratio if the average call ratio is above that budget",
    ),
    "memory/teacher_gib": Metric("GiB", "host memory of the teacher and its child processes"),
    "memory/rollout_gib": Metric("GiB", "host memory of the largest rollout worker, with child processes"),
    "memory/learner_gib": Metric("GiB", "host memory of the largest learner rank, with child processes"),
    "memory/reward_gib": Metric("GiB", "host memory of the reward actor, with its grading processes"),
    "memory/driver_gib": Metric("GiB", "host memory of the driver"),
    "memory/node_used_share": Metric("share", "memory in use on the fullest node that has an actor"),
    "speed/rollout_tokens_per_s": Metric("tokens/s", "output tokens per second of the rollout phase, all workers"),
    "speed/student_tokens_per_s": Metric("tokens/s", "student-written tokens per second of the rollout phase"),
    "speed/teacher_tokens_per_s": Metric("tokens/s", "teacher-written tokens per second of the rollout phase"),
    "speed/learner_tokens_per_s": Metric("tokens/s", "packed tokens, prompts included, per second of the learn phase"),
    "filter/problems": Metric("problems", "training problems before the filter"),
    "filter/kept": Metric("problems", "training problems that the teacher solves often enough"),
    "filter/kept_pass_rate": Metric(
        "share", "right answers among the teacher's answers to the problems that were kept"
    ),
    "citer/references": Metric("solutions", "right solutions of the teacher, from which the tokens are taken"),
    "citer/labelled_tokens": Metric("tokens", "positions of the solutions that the router learns from"),
    "citer/unlabelled_tokens": Metric("tokens", "positions left out: undecided, and not drawn for a rollout"),
    "citer/student_share": Metric("share", "labelled tokens that the student may write"),
    "citer/rollouts": Metric("rollouts", "positions that a rollout has labelled in this round"),
    "citer/epochs": Metric("epochs", "epochs until the validation loss stopped falling"),
    "citer/training_loss": Metric("nats", "binary cross-entropy of the last epoch, per token"),
    "citer/validation_loss": Metric("nats", "binary cross-entropy of the router on held-out solutions, per token"),
    "citer/validation_accuracy": Metric("share", "held-out tokens that the router labels right, at a threshold of 0.5"),
    "citer/teacher_recall": Metric("share", "held-out tokens labelled as the teacher's that the router finds"),
    "time/rollout_s": Metric(
        "s",
        "wall time of this step's rollout, with its grading. With `grpo.async_depth` 1 it ran beside the updates of the step before",
    ),
    "time/sleep_s": Metric(
        "s", "with `cluster.colocate`: wall time until the engines sleep and the learner has its memory"
    ),
    "time/learn_s": Metric("s", "wall time of the learner's updates"),
    "time/wait_s": Metric("s", "with `grpo.async_depth` 1: how long the next step's rollout went on after the updates"),
    "time/sync_s": Metric(
        "s", "wall time of moving new weights to the rollout engines; with `cluster.colocate` also of waking them"
    ),
    "time/evaluate_s": Metric("s", "wall time of evaluation"),
    "time/checkpoint_s": Metric("s", "wall time of writing the checkpoint of the step before"),
    "time/step_s": Metric("s", "wall time of the whole step, since the step before was logged"),
}
