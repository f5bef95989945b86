"""The learning rate as a pure function of the optimizer step."""

from math import cos, pi

from actors.settings import OptimizerSettings


def learning_rate(settings: OptimizerSettings, step: int, total_steps: int) -> float:
    """Return the learning rate of optimizer step `step`, counted from 0.

    The rate rises linearly to `lr` over `ramp_steps`; the first step is already above 0. Then it stays constant, or falls
    and reaches 0 after the last of `total_steps`.
    """
    if step < settings.ramp_steps:
        return settings.lr * (step + 1) / (settings.ramp_steps + 1)
    remaining = max(total_steps - settings.ramp_steps, 1)
    progress = min((step - settings.ramp_steps) / remaining, 1.0)
    match settings.schedule:
        case "constant":
            return settings.lr
        case "linear":
            return settings.lr * (1.0 - progress)
        case "cosine":
            return settings.lr * 0.5 * (1.0 + cos(pi * progress))
