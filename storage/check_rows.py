"""Find rows that no program can read, for ``storage.check``: their study cannot be opened.

Plain SQL leaves them, or a server that cuts what is too long. Each is one line that says what to
do.
"""

import json
from collections.abc import Iterator

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


def find_unreadable(connection: Connection) -> Iterator[str]:
    """Return a line for each attribute that is no JSON, and each trial without number or value."""
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
