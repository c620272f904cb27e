"""Open the lanes that a study's trials train in, whosever objective it is."""

import os

from objectives.base import Lanes, TrainingConfig
from objectives.errors import ObjectiveError
from objectives.functions import LoadedProblem, digest_code, is_users, load_problem, read_source


def open_training(config: TrainingConfig, n_lanes: int | None = None) -> Lanes:
    """Open lanes for the trials of a study; a user's problem is imported, from this folder first.

    Without ``n_lanes`` there are as many as are fastest. Raises ObjectiveError, also where code or
    data are not those that the study was created with.
    """
    from objectives.problem_lanes import open_problem_lanes

    if not is_users(config.objective):
        from objectives.builtin import make_builtin

        return open_problem_lanes(make_builtin(config), config, n_lanes)
    from objectives.describing import describe_data

    loaded = load_problem(config.objective, os.getcwd(), config.objective_options)
    _check_code(loaded, config)
    lanes = open_problem_lanes(loaded.problem, config, n_lanes)
    if config.data is not None and (here := describe_data(lanes.parts)) != config.data:
        raise ObjectiveError(
            f"Objective {config.objective!r}: its data here ({here.n_train}, {here.n_validation} "
            f"and {here.n_test} examples, {here.sha256[:16]}) is not that of its study "
            f"({config.data.n_train}, {config.data.n_validation} and {config.data.n_test}, "
            f"{config.data.sha256[:16]}): give this machine the same data, or start another --study"
        )
    return lanes


def _check_code(loaded: LoadedProblem, config: TrainingConfig) -> None:
    source = read_source(loaded)
    if config.code is None or source is None:
        return
    if (here := digest_code(source)) != config.code:
        raise ObjectiveError(
            f"Objective {config.objective!r}: {loaded.file} has the digest {here}, its study was "
            f"created with {config.code}: put the code of then here, or start another --study"
        )
