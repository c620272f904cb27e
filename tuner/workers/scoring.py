"""Scores trials' models on the test set, in a process that has torch: see `tuner.selection`."""

import logging
from collections.abc import Mapping, Sequence

import torch

from objectives import TrainingConfig
from objectives.alone import Beginning, score_states, train_side_by_side
from tuner.workers.checkpoints import find_model
from tuner.workers.messages import ScoreRequest, TrainedTrial

logger = logging.getLogger(__name__)


def score_on_test(request: ScoreRequest) -> dict[str, float]:
    """Return the test values of the models of some complete trials, by number as text.

    The models are those that trainers of this run have left, or else are trained once more, as
    they were.
    """
    torch.set_num_threads(request.n_threads)
    training = request.training
    found = [(trial, find_model(request.models_dir, trial.number)) for trial in request.trials]
    kept = [(trial, state) for trial, state in found if state is not None]
    missing = [trial for trial, state in found if state is None]
    scores: dict[int, float] = {}
    if kept:
        values = score_states(training, [(trial.params, state) for trial, state in kept])
        scores = {trial.number: value for (trial, _), value in zip(kept, values, strict=True)}
    scores |= _train_and_score(training, missing)
    return {str(number): score for number, score in scores.items()}


def _train_and_score(
    training: TrainingConfig, trials: Sequence[TrainedTrial]
) -> Mapping[int, float]:
    """Train trials once more, those of the same passes side by side."""
    scores: dict[int, float] = {}
    for passes in {trial.passes for trial in trials}:
        together = [trial for trial in trials if trial.passes == passes]
        beginnings = [Beginning(trial.params, trial.init) for trial in together]
        *_, last = train_side_by_side(training, beginnings, passes)
        for trial, trained in zip(together, last, strict=True):
            _check_is_same(trial, trained.result.value)
            scores[trial.number] = trained.test_value()
    return scores


def _check_is_same(trial: TrainedTrial, accuracy: float) -> None:
    if abs(accuracy - trial.value) > 0.002:
        logger.warning(
            "Trial %d gave validation accuracy %.4f, trained again %.4f: another device or "
            "torch version?",
            trial.number,
            trial.value,
            accuracy,
        )
