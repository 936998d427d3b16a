"""Tests of fewshot_cli/compare/paired.py: how often its intervals cover a difference that is known.

The rows that a simulation prints stand in docs/comparing.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers import few
from scipy import stats

from fewshot_cli.compare import paired
from fewshot_cli.compare.paired import Values, difference, holm

PAGE = Path(__file__).parents[2] / "docs" / "comparing.md"
TIMES = 2000
TRUE = 0.02
TASKS, TASK_SD, MEETING_SD, REST_SD = 200, 0.1, 0.03, 0.05  # of accuracies as glyphs gives them


@dataclass(frozen=True)
class Case:
    seeds: tuple[int, int]
    seed_sd: tuple[float, float]


def simulated(case: Case, random: np.random.Generator) -> tuple[Values, Values]:
    """Two settings, the first `TRUE` better, each `[seeds, TASKS]`.

    What the tasks' difficulty is for both, what a task is for one setting alone, what a seed is on
    all tasks, and the rest.
    """
    task = random.normal(0, TASK_SD, TASKS)
    ours, theirs = (
        mean
        + task
        + random.normal(0, MEETING_SD, TASKS)
        + random.normal(0, seed_sd, (seeds, 1))
        + random.normal(0, REST_SD, (seeds, TASKS))
        for mean, seeds, seed_sd in zip((TRUE, 0), case.seeds, case.seed_sd, strict=True)
    )
    return ours, theirs


def simulation(case: Case) -> tuple[float, float, float]:
    """How often the interval covers, and one over tasks alone; paired to unpaired width."""
    random = np.random.default_rng(2026)
    covered = alone = 0
    widths = []
    for _ in range(TIMES):
        ours, theirs = simulated(case, random)
        found = difference(ours, theirs)
        covered += abs(found.mean - TRUE) <= found.ci95
        widths.append(found.ci95 / found.unpaired_ci95)
        over_tasks = paired.interval(ours.mean(0) - theirs.mean(0))
        alone += abs(found.mean - TRUE) <= over_tasks
    figures = covered / TIMES, alone / TIMES, float(np.median(widths))
    seeds = " and ".join(map(str, case.seeds))
    sd = " and ".join(f"{each:.1%}" for each in case.seed_sd)
    row = f"| {seeds} | {sd} | {figures[0]:.1%} | {figures[1]:.1%} | {figures[2]:.2f} |"
    print(row)
    assert row in PAGE.read_text(encoding="utf-8")
    return figures


@pytest.mark.parametrize("seed_sd", few([0.02, 0.0, 0.01, 0.005, 0.002], quick=2))
def test_the_interval_covers_the_difference_as_often_as_it_says(seed_sd: float) -> None:
    covered, over_tasks, width = simulation(Case((3, 3), (seed_sd, seed_sd)))
    assert 0.93 <= covered <= 0.97
    # Not so an interval that takes these seeds for all seeds, so this test can fail.
    assert over_tasks < 0.9 or seed_sd < 0.005
    assert width < 0.9


@pytest.mark.parametrize(
    "case",
    [
        Case((2, 2), (0.02, 0.02)),
        Case((3, 6), (0.02, 0.02)),
        Case((5, 5), (0.02, 0.002)),
    ],
)
def test_it_covers_with_other_numbers_of_seeds(case: Case) -> None:
    covered, over_tasks, _ = simulation(case)
    assert 0.93 <= covered <= 0.97
    assert over_tasks < 0.6


@pytest.mark.parametrize("case", [Case((3, 6), (0.02, 0.005)), Case((3, 3), (0.02, 0.002))])
def test_where_three_seeds_spread_far_more_than_the_others_it_covers_as_welch_s_does(
    case: Case,
) -> None:
    covered, over_tasks, _ = simulation(case)
    assert abs(covered - welch(case)) < 0.015
    assert 0.91 <= covered <= 0.95  # a little less than it says, and known
    assert over_tasks < 0.6


def welch(case: Case) -> float:
    """The coverage of Welch's interval for means of the seeds alone, the tasks' part known."""
    random = np.random.default_rng(1)
    known = (2 * MEETING_SD**2 + sum(REST_SD**2 / seeds for seeds in case.seeds)) / TASKS
    ours, theirs = (
        random.normal(0, sd, (100_000, seeds))
        for seeds, sd in zip(case.seeds, case.seed_sd, strict=True)
    )
    error = ours.mean(1) - theirs.mean(1) + random.normal(0, known**0.5, len(ours))
    parts = [each.var(1, ddof=1) / each.shape[1] for each in (ours, theirs)]
    degrees = (parts[0] + parts[1] + known) ** 2 / sum(
        part**2 / (seeds - 1) for part, seeds in zip(parts, case.seeds, strict=True)
    )
    half_width = stats.t.ppf(0.975, degrees) * np.sqrt(parts[0] + parts[1] + known)
    return float((abs(error) <= half_width).mean())


def test_pairing_makes_the_interval_narrower_where_tasks_vary_and_seeds_agree() -> None:
    random = np.random.default_rng(3)
    task = random.normal(0, TASK_SD, 100)
    ours, theirs = (task + random.normal(0, 0.01, (3, 100)) for _ in range(2))
    found = difference(ours, theirs)
    assert found.ci95 < 0.15 * found.unpaired_ci95


def test_pairing_changes_nothing_where_all_tasks_are_alike() -> None:
    random = np.random.default_rng(3)
    widths = []
    for _ in range(200):
        ours, theirs = random.normal(0, 0.05, (2, 3, 100))
        found = difference(ours, theirs)
        widths.append(found.ci95 / found.unpaired_ci95)
    assert np.median(widths) == pytest.approx(1, abs=0.02)


def test_the_unpaired_interval_has_the_same_degrees_of_freedom() -> None:
    # With one seed each both are Student's, with T - 1 degrees and not the 2 T - 2 of two samples.
    ours, theirs = np.random.default_rng(4).normal(0, 1, (2, 1, 30))
    variance = (ours.var(ddof=1) + theirs.var(ddof=1)) / 30
    expected = stats.t.ppf(0.975, 29) * variance**0.5
    assert difference(ours, theirs).unpaired_ci95 == pytest.approx(expected)


@pytest.mark.parametrize("seeds", [(1, 1), (1, 3), (3, 1)])
def test_with_a_single_seed_it_is_student_s_paired_interval_over_tasks(
    seeds: tuple[int, int],
) -> None:
    random = np.random.default_rng(5)
    ours, theirs = (random.normal(0, 1, (number, 40)) for number in seeds)
    found = difference(ours, theirs)
    expected = stats.ttest_rel(ours.mean(0), theirs.mean(0))
    low, high = expected.confidence_interval(0.95)
    assert found.over == "tasks"
    assert found.mean - found.ci95 == pytest.approx(low)
    assert found.mean + found.ci95 == pytest.approx(high)
    assert found.p == pytest.approx(expected.pvalue)


def test_the_other_way_round_only_the_sign_changes() -> None:
    random = np.random.default_rng(6)
    ours, theirs = random.normal(0, 1, (3, 20)), random.normal(0, 1, (5, 20))
    there, back = difference(ours, theirs), difference(theirs, ours)
    assert there.mean == pytest.approx(-back.mean)
    assert (there.ci95, there.p) == pytest.approx((back.ci95, back.p))


def test_the_same_values_differ_by_nothing() -> None:
    values = np.ones((3, 10))
    found = difference(values, values)
    assert (found.mean, found.ci95, found.p) == (0, 0, 1)
    assert difference(values + 1, values).p == 0


def test_of_a_single_task_no_interval_is_known() -> None:
    assert np.isnan(difference(np.ones((1, 1)), np.zeros((1, 1))).ci95)
    assert np.isnan(paired.interval(np.ones(1)))


def test_the_interval_of_a_mean_is_student_s() -> None:
    values = np.array([1.0, 2.0, 4.0])
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert paired.interval(values) == pytest.approx((high - low) / 2)


def test_holm_s_correction_by_hand() -> None:
    # Least first 0.01 * 4, 0.015 * 3 = 0.045, 0.03 * 2 = 0.06; 0.04 * 1 may not be less than that.
    assert holm([0.04, 0.01, 0.03, 0.015], 4) == pytest.approx([0.06, 0.04, 0.06, 0.045])
    # Two of a family of six: 0.01 * 6 and 0.4 * 5, which is at most 1.
    assert holm([0.4, 0.01], 6) == pytest.approx([1, 0.06])
    assert holm([], 3) == []
