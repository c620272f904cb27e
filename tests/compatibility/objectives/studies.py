"""What an objective may do with its study, and with others."""

import pathlib
import tempfile

import optuna
from optuna.trial import TrialState

from tests.compatibility.objectives import attempt, note


def itself(trial: optuna.Trial) -> float:
    """What a trial says of itself, before and after it is given parameters."""
    note(trial, before=(trial.number, trial.params, trial.distributions))
    x = trial.suggest_float("x", 0, 1)
    trial.suggest_categorical("c", ["a", "b"])
    note(trial, after=(trial.params, trial.distributions), relative=trial.relative_params)
    note(trial, started=trial.datetime_start is not None, constraints=trial.constraints)
    trial.params["x"] = 5.0
    note(trial, changed=trial.params["x"])
    return x


def has_attributes_already(trial: optuna.Trial) -> float:
    """The user attributes that a trial has when it begins."""
    note(trial, before=sorted(trial.user_attrs))
    return float(trial.number)


def is_a_trial(trial: optuna.Trial) -> float:
    """Whether it is a trial of Optuna's by its class, and its study a study."""
    note(trial, is_trial=isinstance(trial, optuna.Trial))
    note(trial, is_study=isinstance(trial.study, optuna.Study))
    return float(trial.number)


def reads_its_study(trial: optuna.Trial) -> float:
    """The trials before, the best so far, direction, names and attributes of the study."""
    study = trial.study
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    note(trial, numbers=[t.number for t in study.trials], finished=[t.value for t in finished])
    note(
        trial, best=attempt(lambda: (study.best_trial.number, study.best_value, study.best_params))
    )
    note(trial, pareto=[t.number for t in study.best_trials])
    note(trial, direction=study.direction.name, directions=len(study.directions))
    running = study.get_trials(states=(TrialState.RUNNING,))
    note(trial, running=[(t.number, t.params) for t in running])
    return trial.suggest_float("x", 0, 1)


def reads_a_table(trial: optuna.Trial) -> float:
    """The sampler and the pruner of the study, and its user attributes."""
    note(trial, pruner=type(trial.study.pruner).__name__)
    note(trial, mine=trial.study.user_attrs.get("mine"))
    return float(trial.number)


def skips_duplicates(trial: optuna.Trial) -> float:
    """Parameters that an earlier trial had: pruned, as Optuna's questions and answers do it."""
    n = trial.suggest_int("n", 0, 1)
    for previous in trial.study.get_trials(states=(TrialState.COMPLETE,)):
        if previous.params == trial.params:
            raise optuna.TrialPruned("seen already")
    return float(n)


def stops(trial: optuna.Trial) -> float:
    """`study.stop()`: this trial ends as it would, and no further one begins."""
    if trial.number == 1:
        trial.study.stop()
        note(trial, went_on=True)
    return trial.suggest_float("x", 0, 1)


def stops_and_fails(trial: optuna.Trial) -> float:
    """`study.stop()` in a trial that then fails."""
    trial.study.stop()
    raise ValueError("stopped")


def writes_to_its_study(trial: optuna.Trial) -> float:
    """Attributes of the study, read back by later trials."""
    note(trial, before=trial.study.user_attrs.get("best so far"))
    trial.study.set_user_attr("best so far", trial.number)
    return float(trial.number)


def enqueues(trial: optuna.Trial) -> float:
    """A trial that enqueues the next one."""
    if trial.number == 0:
        trial.study.enqueue_trial({"x": 0.25}, user_attrs={"from": trial.number})
    return trial.suggest_float("x", 0, 1)


def adds(trial: optuna.Trial) -> float:
    """A trial that adds another one, which was evaluated elsewhere."""
    if trial.number == 0:
        space = {"x": optuna.distributions.FloatDistribution(0, 1)}
        trial.study.add_trial(
            optuna.create_trial(params={"x": 0.5}, distributions={**space}, value=9)
        )
    return trial.suggest_float("x", 0, 1)


def study_within(trial: optuna.Trial) -> float:
    """A study of its own within the trial."""
    x = trial.suggest_float("x", 0, 1)
    inner = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=trial.number))
    inner.optimize(lambda t: t.suggest_float("y", 0, 1), n_trials=3)
    note(trial, inner=inner.best_value, best=inner.best_params)
    return x + inner.best_value


def with_fixed_trials(trial: optuna.Trial) -> float:
    """Tests itself with Optuna's `FixedTrial` and `create_trial`."""

    def inner(t: optuna.trial.BaseTrial) -> float:
        t.report(1.0, 1)
        return t.suggest_float("x", 0, 1) + t.suggest_int("n", 0, 3)

    fixed = inner(optuna.trial.FixedTrial({"x": 0.5, "n": 2}))
    return fixed + inner(trial)


def stores_an_artifact(trial: optuna.Trial) -> float:
    """A file kept as an artifact of the trial, as Optuna's tutorial shows."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "model.txt"
        file.write_text("weights")
        store = optuna.artifacts.FileSystemArtifactStore(base_path=folder)
        artifact = optuna.artifacts.upload_artifact(
            artifact_store=store, file_path=str(file), study_or_trial=trial
        )
        note(trial, stored=len(artifact))
    return float(trial.number)
