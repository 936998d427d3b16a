from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from fewshot_cli.plots.study import draw, study
from fewshot_cli.settings.errors import UserError
from fewshot_cli.sweeps import study as studies

SEARCHED = {
    "algo": CategoricalDistribution(["maml", "reptile"]),
    "algo.inner_lr": FloatDistribution(0.01, 1, log=True),
}


def filled(folder: Path) -> optuna.Study:
    """A study of six complete trials and one that was pruned."""
    found = studies.opened(f"sqlite:///{folder / 'optuna.db'}", "fewshot")
    for number in range(6):
        found.add_trial(
            create_trial(
                params={
                    "algo": ["maml", "reptile"][number % 2],
                    "algo.inner_lr": 0.1 + number / 10,
                },
                distributions=SEARCHED,
                value=0.5 + 0.05 * number,
                intermediate_values={10: 0.3, 20: 0.5 + 0.05 * number},
            )
        )
    found.add_trial(
        create_trial(
            params={"algo": "maml", "algo.inner_lr": 0.9},
            distributions=SEARCHED,
            state=TrialState.PRUNED,
            intermediate_values={10: 0.2},
        )
    )
    return found


def test_a_study_has_its_trials_and_what_was_searched(tmp_path: Path) -> None:
    panels = [axes for axes in draw(filled(tmp_path)).axes if axes.axison]
    trials, validations, weights, algo, rates = panels
    complete, best, given_up = trials.lines
    assert list(complete.get_ydata()) == pytest.approx([50, 55, 60, 65, 70, 75])
    assert list(best.get_ydata()) == pytest.approx([50, 55, 60, 65, 70, 75])
    assert list(given_up.get_xdata()) == [6]
    assert list(given_up.get_ydata()) == pytest.approx([20])
    assert len(validations.lines) == 2 * 7
    assert {label.get_text() for label in weights.get_yticklabels()} == {*SEARCHED}
    assert (algo.get_xlabel(), rates.get_xlabel()) == ("algo", "algo.inner_lr")
    assert rates.get_xscale() == "log"


def test_a_picture_is_left_and_nothing_else(tmp_path: Path) -> None:
    filled(tmp_path)
    study(tmp_path, out=tmp_path / "study.svg", study_name="fewshot")
    assert "<svg" in (tmp_path / "study.svg").read_text()
    with pytest.raises(UserError, match=r"study fewsht: not in .*; expected fewshot"):
        study(tmp_path, out=tmp_path / "x.png", study_name="fewsht")
    assert optuna.get_all_study_names(f"sqlite:///{tmp_path / 'optuna.db'}") == ["fewshot"]


def test_what_is_no_search_or_has_too_few_trials_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected the folder of a search, which has an optuna.db"):
        study(tmp_path, out=tmp_path / "x.png", study_name="fewshot")
    found = studies.opened(f"sqlite:///{tmp_path / 'optuna.db'}", "fewshot")
    with pytest.raises(
        UserError, match=r"study fewshot: has 0 complete trials; expected 2 or more"
    ):
        draw(found)
