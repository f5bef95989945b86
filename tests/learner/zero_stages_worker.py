"""One rank that takes the same steps under every ZeRO stage; rank 0 writes its weights and metrics."""

import pickle
import sys
from pathlib import Path

import numpy as np
import torch

from actors.learner.batches import GrpoStep, TokenSequences
from actors.learner.distributed import init_distributed
from actors.learner.grpo import grpo_step
from actors.learner.sft import sft_step
from actors.learner.trainer import Trainer
from actors.settings import GrpoLossSettings, LearnerSettings, OptimizerSettings
from cluster.devices import Device


def main(rank: int, ranks: int, port: int, model: str, data: Path, out: Path) -> None:
    torch.set_num_threads(1)
    init_distributed(rank, ranks, "127.0.0.1", port, Device.CPU)
    trajectories = pickle.loads(data.read_bytes())
    texts = TokenSequences(
        trajectories.token_ids, trajectories.token_offsets, np.ones(len(trajectories.token_ids), np.bool_)
    )
    advantages = np.asarray([1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 0.7, -0.7], np.float32)
    loss = GrpoLossSettings(kl_coefficient=0.1, train_teacher_tokens=True)
    for stage in range(4):
        settings = LearnerSettings(
            ranks=ranks, zero_stage=stage, dtype="float32", max_tokens_per_micro_batch=30, logprob_chunk_tokens=5
        )
        trainer = Trainer(settings, rank, ranks)
        trainer.load(model, OptimizerSettings(lr=3e-3, max_grad_norm=0.5, eps=1e-4), 10, reference=model)
        sft = sft_step(trainer, texts, np.arange(7))
        if stage in (1, 2):  # others have the GPU in between; this changes nothing
            trainer.free_memory(keep_weights=True)
            trainer.free_memory(keep_weights=False)
            trainer.take_memory()
        minibatches = [np.arange(5), np.arange(5, 8), np.arange(2)]
        step = GrpoStep(
            advantages=advantages,
            trainable=np.ones(8, np.bool_),
            minibatches=minibatches,
            loss=loss,
            temperature=0.9,
            version=3,
        )
        grpo = grpo_step(trainer, trajectories, step)
        trainer.save_state(out / f"state-{stage}")
        trainer.load_state(out / f"state-{stage}")
        trainer.export(out / f"export-{stage}")
        weights = trainer.weights()
        if rank == 0:
            numbers = {"sft_loss": sft.loss, "sft_grad_norm": sft.grad_norm}
            numbers |= {n: getattr(grpo, n) for n in ("loss", "kl", "entropy", "grad_norm", "ratio_max", "logprob_gap")}
            np.savez(out / f"stage-{stage}.npz", **weights, **{f"metric.{n}": v for n, v in numbers.items()})
        if (of_one := out.parent / "1" / f"state-{3 - stage}").exists():  # the run of one rank was before
            trainer.load_state(of_one)
            trainer.save_state(out / f"state-of-one-{3 - stage}")
        trainer.unload()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    rank, ranks, port, model, data, out = sys.argv[1:]
    main(int(rank), int(ranks), int(port), model, Path(data), Path(out))
