"""Find rows that no program can read, for ``storage.check``: their study cannot be opened.

Plain SQL leaves them, or a server that cuts what is too long. Each is one line that says what to
do.
"""

import json
from collections.abc import Iterator

from optuna.distributions import json_to_distribution
from optuna.trial import TrialState
from sqlalchemy import Connection, text

_OF_TRIALS = """SELECT s.study_name, t.number, a.{key}, a.value_json FROM {table} a
JOIN trials t ON t.trial_id = a.trial_id JOIN studies s ON s.study_id = t.study_id"""
_OF_STUDIES = """SELECT s.study_name, NULL, a.{key}, a.value_json FROM {table} a
JOIN studies s ON s.study_id = a.study_id"""
_ATTRIBUTES = {
    "trial_user_attributes": _OF_TRIALS,
    "trial_system_attributes": _OF_TRIALS,
    "study_user_attributes": _OF_STUDIES,
    "study_system_attributes": _OF_STUDIES,
}
_WITHOUT_NUMBER = """SELECT s.study_name, t.trial_id FROM trials t
JOIN studies s ON s.study_id = t.study_id WHERE t.number IS NULL ORDER BY t.trial_id"""
_WITHOUT_VALUE = """SELECT s.study_name, t.number FROM trials t
JOIN studies s ON s.study_id = t.study_id LEFT JOIN trial_values v ON v.trial_id = t.trial_id
WHERE t.state = 'COMPLETE' AND v.trial_id IS NULL ORDER BY t.trial_id"""


_STATES = ", ".join(f"'{state.name}'" for state in TrialState)
_OF_ODD_STATE = f"""SELECT s.study_name, t.number, t.state FROM trials t
JOIN studies s ON s.study_id = t.study_id WHERE t.state NOT IN ({_STATES}) ORDER BY t.trial_id"""
_DISTRIBUTIONS = """SELECT p.param_name, p.distribution_json, MIN(s.study_name), MIN(t.number)
FROM trial_params p JOIN trials t ON t.trial_id = p.trial_id
JOIN studies s ON s.study_id = t.study_id GROUP BY p.param_name, p.distribution_json"""
# SQLite alone keeps a text in a column of numbers or moments.
_NUMBERS = {
    "trial_values": "value",
    "trial_intermediate_values": "intermediate_value",
    "trial_params": "param_value",
}
_OF_TEXT = """SELECT s.study_name, t.number, v.{column} FROM {table} v
JOIN trials t ON t.trial_id = v.trial_id JOIN studies s ON s.study_id = t.study_id
WHERE typeof(v.{column}) NOT IN ('real', 'integer', 'null') ORDER BY t.trial_id"""
_OF_NO_MOMENT = """SELECT s.study_name, t.number, t.{column} FROM trials t
JOIN studies s ON s.study_id = t.study_id
WHERE t.{column} IS NOT NULL AND datetime(t.{column}) IS NULL ORDER BY t.trial_id"""


def find_unreadable(connection: Connection) -> Iterator[str]:
    """Return a line for each row that no program can read, or that has lost what it needs."""
    yield from _find_texts(connection)
    yield from _find_distributions(connection)
    yield from _find_odd_trials(connection)
    if connection.dialect.name == "sqlite":
        yield from _find_odd_kinds(connection)


def _find_texts(connection: Connection) -> Iterator[str]:
    for table, query in _ATTRIBUTES.items():
        key = connection.dialect.identifier_preparer.quote("key")
        for study, number, name, stored in connection.execute(
            text(query.format(table=table, key=key))
        ):
            try:
                json.loads(stored)
            except (TypeError, ValueError):
                of_trial = "" if number is None else f": trial {number}"
                yield (
                    f"Study {study!r}{of_trial} has an attribute {name!r} that is no JSON: mend it "
                    f"in {table} by SQL"
                )


def _find_distributions(connection: Connection) -> Iterator[str]:
    for name, stored, study, number in connection.execute(text(_DISTRIBUTIONS)):
        try:
            json_to_distribution(stored)
        except (KeyError, TypeError, ValueError) as error:
            yield (
                f"Study {study!r}: trial {number} has {name!r} of a kind that this Optuna does not "
                f"know ({error}): update optuna, or delete the trial"
            )


def _find_odd_trials(connection: Connection) -> Iterator[str]:
    for study, trial_id in connection.execute(text(_WITHOUT_NUMBER)):
        yield (
            f"Study {study!r}: the trial with id {trial_id} has lost its number: give it one that "
            "is free, by SQL"
        )
    for study, number in connection.execute(text(_WITHOUT_VALUE)):
        yield (
            f"Study {study!r}: trial {number} is COMPLETE without a value: put it into "
            "trial_values, or let the trial's state be FAIL, by SQL"
        )
    for study, number, state in connection.execute(text(_OF_ODD_STATE)):
        yield (
            f"Study {study!r}: trial {number} has the state {state!r}, which Optuna does not know: "
            "let it be FAIL, by SQL"
        )


def _find_odd_kinds(connection: Connection) -> Iterator[str]:
    for table, column in _NUMBERS.items():
        query = _OF_TEXT.format(table=table, column=column)
        for study, number, stored in connection.execute(text(query)):
            yield (
                f"Study {study!r}: trial {number} has {stored!r} in {table}, which is no number: "
                "mend it by SQL"
            )
    for column in ("datetime_start", "datetime_complete"):
        for study, number, stored in connection.execute(text(_OF_NO_MOMENT.format(column=column))):
            yield (
                f"Study {study!r}: trial {number} has {stored!r} as {column}, which is no moment: "
                "mend it by SQL"
            )
