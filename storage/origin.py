"""Whose a trial is: trained in its study by a worker of ours, or put there by another program.

Trials that were imported (``study.add_trial``, ``add_trials``) or that plain Optuna ran teach the
sampler, but they are never the answer of a study. A worker writes its name on each trial that it
trains, and the study's origin, which tells studies apart whatever their names: a copy of a study
keeps both, and so its trials; one that was copied from another study has another origin on it.
"""

import secrets

from optuna.trial import FrozenTrial

# A system attribute of studies and of their trials; what version 6 and before has made has none.
ORIGIN = "tuner:origin"
WORKER = "worker"

# Conditions for a row `t` of Optuna's trials: on it stands the origin of its study; or another.
_STANDS_ON_IT = f"""EXISTS (
    SELECT 1 FROM trial_system_attributes m
    JOIN study_system_attributes o ON o.value_json {{is_as}} m.value_json
    WHERE m.trial_id = t.trial_id AND m.key = '{ORIGIN}'
    AND o.study_id = t.study_id AND o.key = '{ORIGIN}')"""
WITH_ORIGIN = _STANDS_ON_IT.format(is_as="=")
# The same as `is_own`; of a study that is none of ours, all trials are its own.
OWN_TRIALS = f"""(
    NOT EXISTS (
        SELECT 1 FROM study_user_attributes p WHERE p.study_id = t.study_id AND p.key = 'spec')
    OR {WITH_ORIGIN}
    OR NOT {_STANDS_ON_IT.format(is_as="<>")} AND EXISTS (
        SELECT 1 FROM trial_user_attributes u
        WHERE u.trial_id = t.trial_id AND u.key = '{WORKER}'))"""


def make_origin() -> str:
    """Return what tells a new study from all others."""
    return secrets.token_hex(8)


def is_own(trial: FrozenTrial, origin: str | None) -> bool:
    """Tell whether a worker of ours has trained a trial in the study of this origin."""
    stands_on_it = trial.system_attrs.get(ORIGIN)
    if origin is None or stands_on_it is None:
        return WORKER in trial.user_attrs
    return bool(stands_on_it == origin)
