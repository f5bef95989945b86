"""What every system and router costs, and what it saves compared with the random router of equal accuracy."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.analysis import systems
from pipelines.analysis.bootstrap import AVERAGE, Estimate, Replicates
from pipelines.analysis.claims import KindGroup
from pipelines.analysis.costs import cost
from pipelines.analysis.router_match import RouterMatch
from pipelines.report.comparison.compared import Comparison
from pipelines.report.comparison.labels import PERFECT_ROUTER, RANDOM_ROUTER, ordered
from pipelines.report.comparison.tables import (
    DASH,
    Cell,
    Column,
    SystemRow,
    SystemTable,
    absent,
    amount_cell,
    call_ratio_cell,
    difference_cell,
    share_cell,
    system_row,
    system_rows,
)
from pipelines.report.comparison.wording import bounds, count, digits_of, signed_percent
from pipelines.report.run.summary import duration
from pipelines.wording import percent

_NO_ROUTER = "Left out: a random router needs answers of the base student and of the teacher."


def cost_table(comparison: Comparison) -> SystemTable:
    """Return accuracy and every kind of cost of an average answer, for systems and routers."""
    names = ordered({*comparison.results.systems, *comparison.results.missing})

    def own(name: str) -> tuple[Cell, ...]:
        return (*_cells(comparison, comparison.main.replicates[name]), _wall_clock(comparison, name))

    rows = system_rows(comparison, names, KindGroup.MAIN, len(_COLUMNS), own, ())
    routers = [
        SystemRow(title, key, setting, (*_cells(comparison, router), DASH))
        for title, key, setting, router in _routers(comparison)
    ]
    prices = comparison.results.prices
    listed = "; ".join(
        f"{who} {price.input:g} read, {price.cached_input:g} from the cache, {price.output:g} written"
        for who, price in (("student", prices.student), ("teacher", prices.teacher))
    )
    return SystemTable(
        "costs",
        "What an answer costs",
        "The mean cost of an answer, over the kinds that are not unseen. Read is what a model prefills: for the teacher "
        "its context at each call, without what its prefix cache held. The price is for a million answers, at "
        f"these prices of a million tokens: {listed}. Routers are computed from recorded answers, so they have "
        "no wall clock.",
        (("", 3), ("student, tokens", 2), ("teacher, tokens", 3), ("", 3)),
        _COLUMNS,
        (*rows, *routers),
    )


def savings_table(comparison: Comparison) -> SystemTable:
    """Return each system's savings at the random router's equal accuracy, and its gain at equal use of the teacher."""
    rows = []
    if comparison.random_router is not None:
        rows = [
            system_row(name, _savings_cells(comparison.match(comparison.main.replicates[name])))
            for name in _compared(comparison)
        ]
        if comparison.perfect_router is not None:
            cells = _savings_cells(comparison.match(comparison.perfect_router))
            rows.append(SystemRow(PERFECT_ROUTER, "perfect_router", "", cells))
    return SystemTable(
        "savings",
        "Saved against the random router",
        "The router sends a query to the teacher with a probability p, else to the base student. Saved is 1 − system ÷ "
        "router of equal accuracy, by four measures: the system's call ratio against p, as in the paper's 98.2 %; "
        "its call ratio against the share of the router's tokens that the teacher writes; tokens written by the "
        "teacher; price. Gained is the accuracy above the router that uses the teacher as much, in points; the paper has "
        "+6.9 at p = call ratio. Bounds are infinite if resamples have no router of equal accuracy.",
        (("router of equal accuracy", 2), ("saved", 4), ("gained, at an equal share of", 2)),
        (
            Column("queries", "p"),
            Column("tokens", "by the teacher"),
            Column("by queries", "as in the paper", starts_part=True),
            Column("by share of tokens"),
            Column("by teacher tokens"),
            Column("by price"),
            Column("queries", "points", starts_part=True),
            Column("tokens", "points"),
        ),
        tuple(rows),
        "" if rows else _NO_ROUTER,
    )


_COLUMNS = (
    Column("accuracy"),
    Column("call ratio"),
    Column("calls"),
    Column("read", starts_part=True),
    Column("written"),
    Column("read", "not cached", starts_part=True),
    Column("read", "cached"),
    Column("written"),
    Column("tokens written", "by both", starts_part=True),
    Column("price"),
    Column("wall clock", "whole evaluation"),
)


def _cells(comparison: Comparison, system: Replicates) -> tuple[Cell, ...]:
    costs = cost(system, AVERAGE, comparison.results.prices)
    return (
        share_cell(system.estimate(AVERAGE, lambda means: means.accuracy)),
        call_ratio_cell(system.estimate(AVERAGE, lambda means: means.call_ratio)),
        _count_cell(system.estimate(AVERAGE, lambda means: means.calls)),
        _count_cell(costs.student_input_tokens),
        _count_cell(costs.student_output_tokens),
        _count_cell(costs.teacher_input_tokens),
        _count_cell(costs.teacher_cached_tokens),
        _count_cell(costs.teacher_output_tokens),
        _count_cell(system.estimate(AVERAGE, lambda means: means.output_tokens)),
        _count_cell(costs.price),
    )


def _routers(comparison: Comparison) -> Iterator[tuple[str, str, str, Replicates]]:
    """Yield title, key, setting and means of the routers: perfect, and random at the relay student's accuracy or at one half."""
    if comparison.random_router is None:
        return
    if comparison.perfect_router is not None:
        yield PERFECT_ROUTER, "perfect_router", "", comparison.perfect_router
    relay = comparison.main.replicates.get(systems.RELAY)
    savings = None if relay is None else comparison.match(relay).savings
    if savings is not None:
        share = savings.queries.value
        yield RANDOM_ROUTER, "matched_router", f"p = {percent(share)}, as accurate as relay", comparison.routed(share)
    yield RANDOM_ROUTER, "router_half", "p = 50\u00a0%", comparison.routed(0.5)


def _compared(comparison: Comparison) -> tuple[str, ...]:
    ends = (systems.BASE, systems.TEACHER)
    return tuple(name for name in comparison.names if name in comparison.main.replicates and name not in ends)


def _savings_cells(match: RouterMatch) -> tuple[Cell, ...]:
    gains = (difference_cell(match.gain_at_queries), difference_cell(match.gain_at_tokens))
    if match.savings is None:
        return (*absent(str(match.no_match), 6), *gains)
    saved = match.savings
    shares = (saved.queries, saved.token_share)
    savings = (saved.by_queries, saved.by_token_share, saved.by_teacher_tokens, saved.by_price)
    return (*map(_signed_cell, shares), *map(_signed_cell, savings), *gains)


def _signed_cell(estimate: Estimate) -> Cell:
    return Cell(signed_percent(estimate.value), bounds(100 * estimate.low, 100 * estimate.high, 1))


def _count_cell(estimate: Estimate) -> Cell:
    return amount_cell(count(estimate.value), bounds(estimate.low, estimate.high, digits_of(estimate.value)), estimate)


def _wall_clock(comparison: Comparison, name: str) -> Cell:
    answers = comparison.results.systems[name]
    return Cell(duration(answers.seconds), f"{1000 * answers.seconds / len(answers.table):.3g} ms an answer")
