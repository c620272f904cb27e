"""Views for people who read with plain SQL: `tuner_trials`, one row a trial, and `tuner_best`.

They read Optuna's tables only. Optuna's own upgrade cannot change tables that views stand on,
so `tuner storage upgrade` drops them first. A changed view needs a migration that creates it.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

NAMES = ("tuner_trials", "tuner_best")


@dataclass(frozen=True)
class _Dialect:
    """What the three databases write differently."""

    text: str  # a type to cast enumerations to
    infinity: str
    unquoted: str  # a JSON string without its quotes


_DIALECTS = {
    "sqlite": _Dialect("TEXT", "9e999", "TRIM({}, '\"')"),
    "postgresql": _Dialect("VARCHAR", "CAST('Infinity' AS DOUBLE PRECISION)", "TRIM('\"' FROM {})"),
    # MySQL has no infinity: the largest double stands for it.
    "mysql": _Dialect("CHAR", "1.7976931348623157e308", "TRIM('\"' FROM {})"),
}

# Optuna stores an infinite value as a type without a value.
_VALUE = """CASE v.value_type
        WHEN 'INF_POS' THEN {infinity} WHEN 'INF_NEG' THEN -{infinity} ELSE v.value END"""

# What a categorical parameter of this name stores is an index, not a number in real units.
_PARAM = """LEFT JOIN trial_params {alias} ON {alias}.trial_id = t.trial_id
    AND {alias}.param_name = '{name}' AND {alias}.distribution_json NOT LIKE '%Categorical%'"""

_EPOCHS = "(SELECT COUNT(*) FROM trial_intermediate_values i WHERE i.trial_id = t.trial_id)"

_TRIALS = """CREATE VIEW tuner_trials AS
SELECT
    s.study_name AS study,
    t.number AS number,
    CAST(t.state AS {text}) AS state,
    w.param_value AS weight_decay,
    l.param_value AS lr,
    {value} AS value,
    {epochs} AS epochs,
    t.datetime_start AS started,
    t.datetime_complete AS finished,
    {worker} AS worker
FROM trials t
JOIN studies s ON s.study_id = t.study_id
{weight_decay}
{lr}
LEFT JOIN trial_values v ON v.trial_id = t.trial_id AND v.objective = 0
LEFT JOIN trial_user_attributes a ON a.trial_id = t.trial_id AND a.key = 'worker'"""

# Studies with several objectives have no best trial. Partitioned by name, so that a query for one
# study ranks that study's trials alone. The order is that of `tuner.selection.find_best_trial`.
_BEST = """CREATE VIEW tuner_best AS
SELECT study, weight_decay, weight_decay / 2 AS l2_penalty, lr, value, trial, direction
FROM (
    SELECT r.*, ROW_NUMBER() OVER (
        PARTITION BY study
        ORDER BY CASE direction WHEN 'maximize' THEN -value ELSE value END, epochs, trial
    ) AS place
    FROM (
        SELECT
            s.study_name AS study,
            t.number AS trial,
            w.param_value AS weight_decay,
            l.param_value AS lr,
            {value} AS value,
            {epochs} AS epochs,
            LOWER(CAST(d.direction AS {text})) AS direction
        FROM trials t
        JOIN studies s ON s.study_id = t.study_id
        JOIN study_directions d ON d.study_id = t.study_id AND d.objective = 0
        JOIN trial_values v ON v.trial_id = t.trial_id AND v.objective = 0
        {weight_decay}
        {lr}
        WHERE t.state = 'COMPLETE' AND NOT EXISTS (
            SELECT 1 FROM study_directions o WHERE o.study_id = t.study_id AND o.objective > 0)
    ) r
) ranked
WHERE place = 1"""


def create_views(connection: Connection) -> None:
    """Create the views, in place of those there are; safe to repeat."""
    drop_views(connection)
    dialect = _DIALECTS[connection.dialect.name]
    parts = {
        "text": dialect.text,
        "epochs": _EPOCHS,
        "value": _VALUE.format(infinity=dialect.infinity),
        "worker": dialect.unquoted.format("a.value_json"),
        "weight_decay": _PARAM.format(alias="w", name="weight_decay"),
        "lr": _PARAM.format(alias="l", name="lr"),
    }
    for statement in (_TRIALS, _BEST):
        connection.execute(text(statement.format(**parts)))


def drop_views(connection: Connection) -> None:
    """Drop the views, where they are there."""
    for name in reversed(NAMES):
        connection.execute(text(f"DROP VIEW IF EXISTS {name}"))
