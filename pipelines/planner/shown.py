"""Shows a plan in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pipelines.planner.plan import Plan


def show(plan: Plan, console: Console) -> None:
    """Print the split, the times and the bottleneck, and where the numbers come from."""
    console.print(plan.name, style="bold", highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, justify in (
        ("role", "left"),
        ("actors", "right"),
        ("GPUs", "right"),
        ("GB on each GPU", "right"),
        ("busy", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for role in plan.roles:
        memory = "" if role.memory_gb is None else f"{role.memory_gb:.1f}"
        table.add_row(role.name, f"{role.count:,}", f"{role.gpus:,}" if role.gpus else "", memory, f"{role.busy:.0%}")
    console.print(table)
    found = plan.predicted
    console.print(
        f"one step: {found.step_s:,.1f} s: rollout {found.rollout_s:,.1f} s, learning {found.learn_s:,.1f} s, "
        f"weight sync {found.sync_s:,.2f} s; {found.tokens / found.step_s:,.0f} tokens/s",
        highlight=False,
    )
    console.print(f"a step waits most for {found.bottleneck}", highlight=False)
    console.print(f"rates: {plan.rates_from}\nanswers: {plan.shapes_from}", highlight=False, style="dim")
    if plan.keys:
        console.print(f"to use it: {' '.join(plan.keys)}", highlight=False)
