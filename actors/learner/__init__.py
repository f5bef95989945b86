"""The learner: packing, log-probs, losses, the DeepSpeed engine, checkpoints."""
