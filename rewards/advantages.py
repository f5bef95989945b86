"""Group-relative advantages (paper section 2.3)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray


def group_advantages(
    rewards: Sequence[float] | NDArray[np.floating],
    normalisation: Literal["std", "mean"] = "std",
    epsilon: float = 1e-6,
) -> NDArray[np.float32]:
    """Return the advantages of one group of G rewards, [G]: (r - mean) / (std + epsilon), or r - mean for "mean".

    The formula is that of paper section 2.3. The standard deviation is the sample's (divided by G - 1), as in the released
    code. In a group of one, or with equal rewards, all advantages are 0.
    """
    values = np.asarray(rewards, np.float64)
    if len(values) < 2 or np.all(values == values[0]):
        return np.zeros(len(values), np.float32)
    centred = values - values.mean()
    if normalisation == "std":
        centred = centred / (values.std(ddof=1) + epsilon)
    return centred.astype(np.float32)
