"""One line on an evaluation: accuracy by kind, call ratio and cut-off share, and their changes since the last evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.records.evaluations import ALL, Evaluation
from pipelines.wording import percent


def evaluation_line(rows: Sequence[Evaluation], earlier: Sequence[Evaluation]) -> str:
    """Return the line on one policy's rows, with the changes since its last evaluation in `earlier`.

    Changes are in points. The first evaluation of a policy has no changes.
    """
    first = rows[0]
    others = [row for row in earlier if row.policy == first.policy and row.name != first.name]
    before = {row.kind: row for row in others if row.name == others[-1].name}
    kinds = [row for row in rows if row.kind != ALL] or list(rows)
    parts = [", ".join(f"{row.kind} {_share(row, before, 'accuracy')}" for row in kinds)]
    whole = next((row for row in rows if row.kind == ALL), first)
    if first.policy not in ("student", "teacher"):
        parts.append(f"calls {_share(whole, before, 'call_ratio')}")
    parts.append(f"cut off {_share(whole, before, 'cut_off_share')}")
    if whole.failed_call_share:
        parts.append(f"failed calls {_share(whole, before, 'failed_call_share')}")
    return f"{first.name} {first.policy}: {'; '.join(parts)}"


def _share(row: Evaluation, before: dict[str, Evaluation], field: str) -> str:
    value: float = getattr(row, field)
    text = percent(value).replace("\u00a0", " ")
    if (other := before.get(row.kind)) is None:
        return text
    points = round(100 * (value - getattr(other, field)), 1)
    return f"{text} ({points:+.1f})" if points else f"{text} (=)"
