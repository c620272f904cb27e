"""Views for people who read with plain SQL: `tuner_trials`, one row a trial, and `tuner_best`.

Optuna's own upgrade cannot change tables that views stand on, so `tuner storage upgrade` drops
them first. A changed view needs a migration that creates it.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from storage.origin import OWN_TRIALS

NAMES = ("tuner_trials", "tuner_best")


@dataclass(frozen=True)
class _Dialect:
    """What the three databases write differently."""

    text: str  # a type to cast enumerations to
    infinity: str
    unquoted: str  # a JSON string without its quotes
    moment: str  # seconds since 1970 as a time in UTC


_DIALECTS = {
    "sqlite": _Dialect(
        text="TEXT",
        infinity="9e999",
        unquoted="TRIM({}, '\"')",
        moment="DATETIME({}, 'unixepoch')",
    ),
    "postgresql": _Dialect(
        text="VARCHAR",
        infinity="CAST('Infinity' AS DOUBLE PRECISION)",
        unquoted="TRIM('\"' FROM {})",
        moment="DATE_TRUNC('second', TO_TIMESTAMP({}) AT TIME ZONE 'UTC')",
    ),
    "mysql": _Dialect(
        text="CHAR",
        infinity="1.7976931348623157e308",  # it has none: the largest double stands for it
        unquoted="TRIM('\"' FROM {})",
        moment="TIMESTAMP('1970-01-01') + INTERVAL FLOOR({}) SECOND",
    ),
}

# Optuna stores an infinite value as a type without a value.
_VALUE = """CASE v.value_type
        WHEN 'INF_POS' THEN {infinity} WHEN 'INF_NEG' THEN -{infinity} ELSE v.value END"""

# What a categorical parameter of this name stores is an index, not a number in real units.
_PARAM = """LEFT JOIN trial_params {alias} ON {alias}.trial_id = t.trial_id
    AND {alias}.param_name = '{name}' AND {alias}.distribution_json NOT LIKE '%Categorical%'"""

# The textbook's λ is half of weight_decay where that is known to be SGD's; a function does not say.
_L2_OF_EXPORT = """CASE WHEN e.document LIKE '%"l2_penalty": null%'
        THEN NULL ELSE e.weight_decay / 2 END"""
_L2_OF_TRIAL = """CASE WHEN EXISTS (SELECT 1 FROM study_user_attributes f
                WHERE f.study_id = t.study_id AND f.key = 'spec'
                AND f.value_json LIKE '%"objective": "%:%"dataset": %')
            THEN NULL ELSE w.param_value / 2 END"""

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

# Of a study whose answer was exported, the last of it; of others, the best complete trial that is
# its own: see ``storage.origin``.
# Studies with several objectives have no best trial; that of a confirmation is the luckiest seed,
# and no answer. Partitioned by name, so that a query for one study ranks that study's trials alone.
# The order is that of `tuner.selection.find_best_trial`.
_BEST = """CREATE VIEW tuner_best AS
SELECT
    s.study_name AS study,
    e.weight_decay AS weight_decay,
    {l2_of_export} AS l2_penalty,
    e.lr AS lr,
    e.value AS value,
    e.trial AS trial,
    LOWER(CAST(d.direction AS {text})) AS direction,
    e.rule AS rule,
    e.mean AS mean,
    e.standard_error AS standard_error,
    e.version AS version,
    e.pinned_trial AS pinned_trial,
    {exported_at} AS exported_at
FROM tuner_exports e
JOIN studies s ON s.study_id = e.study_id
JOIN study_directions d ON d.study_id = e.study_id AND d.objective = 0
WHERE e.version = (SELECT MAX(x.version) FROM tuner_exports x WHERE x.study_id = e.study_id)
UNION ALL
SELECT study, weight_decay, l2_penalty, lr, value, trial, direction, 'best',
    NULL, NULL, NULL, NULL, NULL
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
            {l2_of_trial} AS l2_penalty,
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
        WHERE t.state = 'COMPLETE' AND {own} AND NOT EXISTS (
            SELECT 1 FROM study_directions o WHERE o.study_id = t.study_id AND o.objective > 0)
            AND NOT EXISTS (SELECT 1 FROM tuner_exports e WHERE e.study_id = t.study_id)
            AND NOT EXISTS (
                SELECT 1 FROM study_user_attributes c WHERE c.study_id = t.study_id
                AND c.key = 'spec' AND c.value_json LIKE '%"confirms"%')
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
        "l2_of_export": _L2_OF_EXPORT,
        "l2_of_trial": _L2_OF_TRIAL,
        "own": OWN_TRIALS,
        "value": _VALUE.format(infinity=dialect.infinity),
        "worker": dialect.unquoted.format("a.value_json"),
        "exported_at": dialect.moment.format("e.exported_at"),
        "weight_decay": _PARAM.format(alias="w", name="weight_decay"),
        "lr": _PARAM.format(alias="l", name="lr"),
    }
    for statement in (_TRIALS, _BEST):
        connection.execute(text(statement.format(**parts)))


def drop_views(connection: Connection) -> None:
    """Drop the views, where they are there."""
    for name in reversed(NAMES):
        connection.execute(text(f"DROP VIEW IF EXISTS {name}"))
