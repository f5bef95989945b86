"""Losses and gradients of the trainer equal a dense implementation, however rows are split into micro-batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from actors.learner.batches import GrpoStep, TokenSequences
from actors.learner.grpo import grpo_step
from actors.learner.sft import sft_step
from actors.settings import GrpoLossSettings, OptimizerSettings
from actors.trajectory import Source, TrajectoryBatch

OPTIMIZER = OptimizerSettings(lr=1e-2)
ADVANTAGES = np.asarray([1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 0.7, -0.7], np.float32)
ALL = np.ones(8, np.bool_)
EVERY_ROW = [np.arange(8)]
TEMPERATURE = 0.8
NO_KL = GrpoLossSettings(kl_coefficient=0.0)


@pytest.fixture
def texts() -> TokenSequences:
    rng = np.random.default_rng(2)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(3, 12, 10))]).astype(np.int64)
    return TokenSequences(rng.integers(0, 64, offsets[-1]).astype(np.int32), offsets, rng.random(offsets[-1]) < 0.7)


def dense_logprobs(model, rows: list[list[int]], temperature: float) -> torch.Tensor:
    """[n, L - 1] from a right-padded forward pass of transformers."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    attention = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    logits = model(ids, attention_mask=attention).logits[:, :-1] / temperature
    return logits.log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]


def dense_model(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")


def dense_gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_same(gradients, expected):
    """Sums in another order round at the scale of a tensor's largest entries, differently from processor to processor."""
    assert gradients.keys() == expected.keys()
    for name in expected:
        atol = max(2e-6, 2e-5 * expected[name].abs().max().item())
        torch.testing.assert_close(
            gradients[name], expected[name], atol=atol, rtol=2e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def dense_grpo_loss(
    model,
    batch: TrajectoryBatch,
    settings,
    reference=None,
    teacher=False,
    advantages=ADVANTAGES,
    proximal=None,
    minibatch=range(8),
):
    """The objective token by token, as the paper writes it; with a proximal model in its decoupled form."""
    rows = [[*map(int, t.prompt_ids), *map(int, t.token_ids)] for t in batch]
    proximal_logprobs = dense_logprobs(proximal, rows, TEMPERATURE).detach() if proximal else None
    logprobs = dense_logprobs(model, rows, TEMPERATURE)
    reference_logprobs = dense_logprobs(reference, rows, TEMPERATURE).detach() if reference else None
    per_row = []
    for i in minibatch:
        trajectory, terms = batch[i], []
        for t in range(len(trajectory.token_ids)):
            by_teacher = trajectory.sources[t] == Source.TEACHER
            if trajectory.constrained[t] or (by_teacher and not teacher):
                continue
            at = len(trajectory.prompt_ids) + t - 1
            old = logprobs[i, at].detach() if by_teacher else torch.tensor(float(trajectory.logprobs[t]))
            near = old if proximal_logprobs is None else proximal_logprobs[i, at]
            ratio, advantage = (logprobs[i, at] - near).exp(), float(advantages[i])
            low, high = 1 - settings.clip_low, 1 + settings.clip_high
            term = -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
            if settings.dual_clip and advantage < 0:
                term = torch.minimum(term, torch.tensor(-settings.dual_clip * advantage))
            if proximal_logprobs is not None:
                term = term * (near - (near if by_teacher else old)).exp().clamp(max=settings.tis_cap)
            if reference_logprobs is not None:
                d = reference_logprobs[i, at] - logprobs[i, at]
                term = term + settings.kl_coefficient * (d.exp() - d - 1)
            terms.append(term)
        per_row.append(torch.stack(terms))
    if settings.aggregation == "sequence_mean":
        return torch.stack([row.mean() for row in per_row]).mean()
    return torch.cat(per_row).mean()


def grpo(trainer, batch, settings=NO_KL, advantages=ADVANTAGES, minibatches=None, trainable=ALL):
    step = GrpoStep(
        advantages=advantages,
        trainable=trainable,
        minibatches=minibatches or EVERY_ROW,
        loss=settings,
        temperature=TEMPERATURE,
        version=5,
    )
    return grpo_step(trainer, batch, step)


def test_sft_equals_the_dense_cross_entropy(make_trainer, gradients_of, model_folder, texts):
    trainer = make_trainer(max_tokens=20)
    trainer.load(str(model_folder), OPTIMIZER, 10)
    metrics = []
    gradients = gradients_of(trainer, lambda: metrics.append(sft_step(trainer, texts, np.arange(10))))
    model = dense_model(model_folder)
    spans = list(zip(texts.offsets, texts.offsets[1:], strict=False))
    rows = [texts.token_ids[a:b].tolist() for a, b in spans]
    masks = [texts.loss_mask[a + 1 : b] for a, b in spans]
    logprobs = dense_logprobs(model, rows, 1.0)
    loss = -torch.cat([logprobs[i, : len(m)][torch.from_numpy(m)] for i, m in enumerate(masks)]).mean()
    assert metrics[0].loss == pytest.approx(loss.item(), rel=1e-5)
    assert metrics[0].tokens == sum(m.sum() for m in masks)
    assert_same(gradients, dense_gradients(model, loss))


@pytest.mark.parametrize(
    "settings",
    [
        NO_KL,
        GrpoLossSettings(kl_coefficient=0.0, dual_clip=1.5, aggregation="sequence_mean"),
        GrpoLossSettings(kl_coefficient=0.3, clip_high=0.3),
    ],
    ids=["token mean", "sequence mean, dual clip", "kl"],
)
def test_grpo_equals_the_dense_objective(make_trainer, gradients_of, model_folder, trajectories, settings, tmp_path):
    trainer, reference = make_trainer(max_tokens=40), None
    if settings.kl_coefficient:
        trainer.load(str(model_folder), OPTIMIZER, 10)
        grpo(trainer, trajectories)
        trainer.export(tmp_path / "reference")
        reference = dense_model(tmp_path / "reference")
    trainer.load(str(model_folder), OPTIMIZER, 10, str(tmp_path / "reference") if reference else None)
    metrics = []
    gradients = gradients_of(trainer, lambda: metrics.append(grpo(trainer, trajectories, settings)))
    model = dense_model(model_folder)
    loss = dense_grpo_loss(model, trajectories, settings, reference)
    assert metrics[0].loss == pytest.approx(loss.item(), rel=1e-4)
    assert 0 < metrics[0].clip_fraction < 1
    assert_same(gradients, dense_gradients(model, loss))


@pytest.mark.parametrize("teacher", [False, True], ids=["student tokens", "teacher tokens too"])
@pytest.mark.parametrize("steps", [1, 2], ids=["the first mini-batch", "the second one"])
def test_truncated_importance_sampling_takes_the_policy_before_the_first_step_as_the_proximal_one(
    make_trainer, gradients_of, model_folder, trajectories, tmp_path, steps, teacher
):
    settings = NO_KL.model_copy(update={"tis_cap": 1.5, "train_teacher_tokens": teacher})
    minibatches = [np.arange(5), np.arange(3, 8)][:steps]
    trainer = make_trainer(max_tokens=40)
    before_the_step = model_folder
    if steps == 2:
        trainer.load(str(model_folder), OPTIMIZER, 10)
        grpo(trainer, trajectories, settings, minibatches=minibatches[:1])
        trainer.export(before_the_step := tmp_path / "first")
    trainer.load(str(model_folder), OPTIMIZER, 10)
    metrics = []
    gradients = gradients_of(
        trainer, lambda: metrics.append(grpo(trainer, trajectories, settings, minibatches=minibatches))
    )
    model, proximal = dense_model(before_the_step), dense_model(model_folder)
    loss = dense_grpo_loss(model, trajectories, settings, teacher=teacher, proximal=proximal, minibatch=minibatches[-1])
    assert_same(gradients, dense_gradients(model, loss))
    assert metrics[0].tis_ratio_max > 1.5 > metrics[0].tis_weight_mean > 0
    assert 0 < metrics[0].tis_truncated_share < 1
    assert metrics[0].ratio_max == pytest.approx(1.0) if steps == 1 else metrics[0].ratio_max > 1.01


def test_trained_teacher_tokens_start_at_ratio_one(make_trainer, gradients_of, model_folder, trajectories):
    trainer = make_trainer(max_tokens=40)
    trainer.load(str(model_folder), OPTIMIZER, 10)
    settings = NO_KL.model_copy(update={"train_teacher_tokens": True})
    gradients = gradients_of(trainer, lambda: grpo(trainer, trajectories, settings))
    model = dense_model(model_folder)
    assert_same(gradients, dense_gradients(model, dense_grpo_loss(model, trajectories, settings, teacher=True)))


def test_teacher_tokens_get_no_gradient(make_trainer, model_folder, trajectories):
    """Only what the policy wrote goes through the LM head, and nothing else gives a gradient to it."""
    trainer = make_trainer()
    trainer.load(str(model_folder), OPTIMIZER, 10)
    scored = []
    head = trainer.engine.module.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, arguments, output: scored.extend(arguments[1].tolist()))
    grpo(trainer, trajectories)
    handle.remove()
    policy = (trajectories.sources == Source.STUDENT) & ~trajectories.constrained
    assert sorted(scored) == sorted(trajectories.token_ids[policy].tolist())


def test_log_probs_noted_for_teacher_tokens_change_nothing(make_trainer, gradients_of, model_folder, trajectories):
    trainer = make_trainer()
    noise = np.where(trajectories.sources == Source.TEACHER, -7.0, 0.0).astype(np.float32)
    results = []
    for batch in (trajectories, replace(trajectories, logprobs=trajectories.logprobs + noise)):
        trainer.load(str(model_folder), OPTIMIZER, 10)
        results.append(gradients_of(trainer, lambda batch=batch: grpo(trainer, batch)))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_the_gradient_does_not_depend_on_micro_batches(
    make_trainer, gradients_of, model_folder, trajectories, aggregation
):
    settings = NO_KL.model_copy(update={"aggregation": aggregation})
    results = []
    for max_tokens in (4096, 25, 1):
        trainer = make_trainer(max_tokens=max_tokens)
        trainer.load(str(model_folder), OPTIMIZER, 10)
        results.append(gradients_of(trainer, lambda trainer=trainer: grpo(trainer, trajectories, settings)))
    assert_same(results[1], results[0])
    assert_same(results[2], results[0])


def test_rows_without_advantage_are_skipped_and_still_counted(make_trainer, gradients_of, model_folder, trajectories):
    advantages = np.where(np.arange(8) < 4, ADVANTAGES, 0.0).astype(np.float32)
    trainer = make_trainer()
    trainer.load(str(model_folder), OPTIMIZER, 10)
    metrics = []
    gradients = gradients_of(trainer, lambda: metrics.append(grpo(trainer, trajectories, advantages=advantages)))
    model = dense_model(model_folder)
    assert metrics[0].skipped_rows == 4
    assert metrics[0].trained_tokens < metrics[0].policy_tokens
    assert_same(gradients, dense_gradients(model, dense_grpo_loss(model, trajectories, NO_KL, advantages=advantages)))


def test_a_batch_without_any_advantage_leaves_the_model_alone(make_trainer, model_folder, trajectories):
    trainer = make_trainer()
    trainer.load(str(model_folder), OPTIMIZER, 10)
    before = trainer.weights()
    metrics = grpo(trainer, trajectories, advantages=np.zeros(8, np.float32))
    after = trainer.weights()
    assert metrics.optimizer_steps == 0
    assert trainer.steps_taken == 1
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_logprob_gap_is_zero_for_the_policys_own_samples(make_trainer, model_folder, trajectories):
    trainer = make_trainer()
    trainer.load(str(model_folder), OPTIMIZER, 10)
    rows = [[*map(int, t.prompt_ids), *map(int, t.token_ids)] for t in trajectories]
    logprobs = dense_logprobs(dense_model(model_folder), rows, TEMPERATURE).detach().numpy()
    own = [
        logprobs[i, len(t.prompt_ids) - 1 : len(rows[i]) - 1] * (t.sources == Source.STUDENT)
        for i, t in enumerate(trajectories)
    ]
    batch = replace(trajectories, logprobs=np.concatenate(own).astype(np.float32))
    metrics = grpo(trainer, batch, minibatches=[np.arange(4), np.arange(4, 8)])
    assert metrics.logprob_gap == pytest.approx(0.0, abs=1e-5)
    assert metrics.ratio_max > 1.0
    assert metrics.optimizer_steps == 2
    assert metrics.staleness == pytest.approx(2.0) and metrics.staleness_max == 2.0
    assert (metrics.tis_weight_mean, metrics.tis_ratio_max, metrics.tis_truncated_share) == (1.0, 1.0, 0.0)
    assert metrics.teacher_tokens == 24


def test_a_kl_term_without_a_reference_is_refused(make_trainer, model_folder, trajectories):
    trainer = make_trainer()
    trainer.load(str(model_folder), OPTIMIZER, 10)
    with pytest.raises(ValueError, match="needs a reference"):
        grpo(trainer, trajectories, GrpoLossSettings(kl_coefficient=0.01))


def test_a_step_without_a_model_says_what_to_do(make_trainer, texts):
    with pytest.raises(RuntimeError, match="call load first"):
        sft_step(make_trainer(), texts, np.arange(2))


def test_the_first_step_moves_weights_by_the_ramped_rate(make_trainer, model_folder, texts):
    trainer = make_trainer()
    trainer.load(str(model_folder), OptimizerSettings(lr=1e-2, ramp_steps=9, weight_decay=0.0), 100)
    before = trainer.weights()["model.norm.weight"]
    metrics = sft_step(trainer, texts, np.arange(10))
    moved = np.abs(trainer.weights()["model.norm.weight"] - before)
    assert metrics.lr == pytest.approx(1e-3)
    np.testing.assert_allclose(moved, 1e-3, rtol=1e-2)


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_rotary_frequencies_stay_in_full_precision(make_trainer, model_folder, texts, zero_stage):
    trainer = make_trainer(zero_stage=zero_stage, dtype="bfloat16")
    trainer.load(str(model_folder), OPTIMIZER, 10)
    sft_step(trainer, texts, np.arange(2))
    assert {buffer.dtype for buffer in trainer.engine.module.buffers()} == {torch.float32}
    assert {parameter.dtype for parameter in trainer.engine.module.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_gradient_checkpointing_changes_nothing(make_trainer, model_folder, texts, zero_stage):
    weights = []
    for checkpointing in (False, True):
        trainer = make_trainer(zero_stage=zero_stage, gradient_checkpointing=checkpointing)
        trainer.load(str(model_folder), OPTIMIZER, 10)
        sft_step(trainer, texts, np.arange(10))
        weights.append(trainer.weights())
    assert all(np.allclose(weights[0][name], weights[1][name], atol=1e-5) for name in weights[0])
