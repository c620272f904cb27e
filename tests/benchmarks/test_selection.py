"""What the benchmark of selection makes of studies' answers, on answers made up here."""

from collections.abc import Sequence

import pytest

from benchmarks.selection import DIGITS, Amounts, Answer, Outcome, build_section
from tuner.confirmation.values import Confirmation, Rung, Verdict, make_candidate


def _answer(weight_decays: Sequence[float]) -> Answer:
    """Return an answer whose best trial, λ_min and λ_1se have these λ, ascending."""
    rungs = tuple(
        Rung(
            candidate=make_candidate(x, {"weight_decay": x, "lr": 0.1}, source),
            values={0: 0.9},
            mean=0.9,
            standard_error=None,
        )
        for x, source in zip(weight_decays, ("search", "ladder", "ladder"), strict=True)
    )
    confirmation = Confirmation(
        study="s/confirm",
        direction="maximize",
        seeds=(0,),
        rungs=rungs,
        lambda_min=1,
        lambda_1se=2,
        search_trial=0,
        search_value=0.9,
        optimism=0.0,
        verdict=Verdict(kind="does not matter", text=""),
    )
    return Answer(
        confirmation,
        {"weight_decay": weight_decays[0], "lr": 0.1},
        search_epochs=100,
        confirm_epochs=200,
    )


def test_section_has_spread_gain_and_cost_of_each_choice() -> None:
    """Spreads are of log10 λ, gains paired by study with their error, costs by what they took."""
    outcomes = [
        Outcome(_answer((1e-5, 1e-4, 1e-3)), {"best trial": 0.9, "λ_min": 0.9, "λ_1se": 0.92}),
        Outcome(_answer((1e-3, 1e-3, 1e-3)), {"best trial": 0.8, "λ_min": 0.8, "λ_1se": 0.78}),
    ]
    section = build_section(Amounts((DIGITS,)), {DIGITS: outcomes})
    assert [list(row)[1:] for row in section.rows] == [
        ["best trial", "1.41", "85.00", "-", "100"],
        ["λ_min", "0.71", "85.00", "+0.00 ± 0.00", "300"],
        ["λ_1se", "0.00", "85.00", "+0.00 ± 2.00", "300"],
    ]
    accuracy, spread = section.figures
    assert (accuracy.value, accuracy.aim) == (pytest.approx(0), pytest.approx(-2))
    assert (spread.value, spread.is_reached) == (0, True)
