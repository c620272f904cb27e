"""Find what other programs have made of studies of ours, for ``storage.check``.

Changes nothing. Each problem is one line that says what to do.
"""

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from optuna.distributions import json_to_distribution
from sqlalchemy import Connection, text

from storage.origin import OWN_TRIALS, WITH_ORIGIN

_OURS = """SELECT s.study_id, s.study_name, a.value_json AS spec, b.study_id AS budget
FROM studies s
LEFT JOIN study_user_attributes a ON a.study_id = s.study_id AND a.{key} = 'spec'
LEFT JOIN tuner_budgets b ON b.study_id = s.study_id
WHERE a.{key} IS NOT NULL OR (
    b.study_id IS NOT NULL AND EXISTS (SELECT 1 FROM trials t WHERE t.study_id = s.study_id))
ORDER BY s.study_name"""
_DIRECTIONS = "SELECT study_id, direction FROM study_directions ORDER BY study_id, objective"
_ODD_NUMBERS = """SELECT study_id FROM trials GROUP BY study_id
HAVING COUNT(*) <> MAX(number) + 1 OR COUNT(*) <> COUNT(DISTINCT number)"""
_NUMBERS = "SELECT number FROM trials WHERE study_id = :of_study ORDER BY number"
# The trials of plain Optuna have no lease either.
_UNHELD = f"""SELECT t.study_id, t.number FROM trials t
LEFT JOIN tuner_leases l ON l.trial_id = t.trial_id
WHERE t.state = 'RUNNING' AND l.trial_id IS NULL AND {WITH_ORIGIN} ORDER BY t.number"""
_PARAMS = f"""SELECT study_id, param_name, distribution_json, is_own, MIN(number) AS number
FROM (
    SELECT t.study_id, t.number, p.param_name, p.distribution_json,
        CASE WHEN {OWN_TRIALS} THEN 1 ELSE 0 END AS is_own
    FROM trial_params p JOIN trials t ON t.trial_id = p.trial_id
) stated
GROUP BY study_id, param_name, distribution_json, is_own
ORDER BY study_id, param_name, number"""
_WITH_STUDY = ("tuner_exports", "tuner_leases", "tuner_workers", "tuner_budgets")
_MOST_NUMBERS = 5  # of trials that a line names


def find_foreign_marks(connection: Connection) -> Iterator[str]:
    """Return a line for each study that cannot be opened, or has lost trials or parameters."""
    directions = defaultdict(list)
    for study_id, direction in connection.execute(text(_DIRECTIONS)):
        directions[study_id].append(str(direction).lower())
    names = {}
    functions = set()
    key = connection.dialect.identifier_preparer.quote("key")
    for study_id, name, stored, budget in connection.execute(text(_OURS.format(key=key))).all():
        spec = json.loads(stored or "null")
        if not isinstance(spec, dict):
            if budget is not None:  # else it is another program's, whatever it calls `spec`
                yield (
                    f"Study {name!r} has lost its spec: another program has deleted or changed its "
                    "attribute 'spec'; put it back from a copy of the database"
                )
            continue
        names[study_id] = name
        if ":" in str(spec.get("objective")):
            functions.add(study_id)
        yield from _find_wrong_direction(name, directions[study_id], spec.get("direction"))
        if budget is None:
            yield (
                f"Study {name!r} has no budget, since another program has copied or renamed it: "
                f"`{_create(name)}` gives it one"
            )
    yield from _find_odd_numbers(connection, names)
    yield from _find_unheld(connection, names)
    yield from _find_odd_params(connection, names, functions)


def find_orphans(connection: Connection) -> Iterator[str]:
    """Return a line for each table of ours with rows of studies that are gone.

    SQLite gives the id of a deleted study to the next one, which would inherit them.
    """
    for table in _WITH_STUDY:
        orphans = f"FROM {table} WHERE study_id NOT IN (SELECT study_id FROM studies)"
        n = connection.execute(text(f"SELECT COUNT(*) {orphans}")).scalar_one()
        if n:
            told = f"{n} rows of {table} belong to studies that were deleted"
            yield f"{told}: run SQL `DELETE {orphans}`"


def _find_wrong_direction(name: str, stored: list[str], wanted: str | None) -> Iterator[str]:
    if wanted is None or stored == [wanted]:
        return
    where = " and ".join(stored) or "do nothing"
    said = f"Study {name!r} is stored to {where}, its spec says {wanted}"
    if len(stored) == 1:
        yield f"{said}: `{_create(name)}` sets it right"
    else:
        yield f"{said}: another program has added objectives; go on under another --study"


def _find_odd_numbers(connection: Connection, names: dict[int, str]) -> Iterator[str]:
    for (study_id,) in connection.execute(text(_ODD_NUMBERS)).all():
        if study_id not in names:
            continue
        numbers = connection.execute(text(_NUMBERS), {"of_study": study_id}).scalars().all()
        gone = sorted(set(range(max(numbers))) - set(numbers))
        twice = sorted({a for a, b in pairwise(numbers) if a == b})
        if gone:
            yield (
                f"Study {names[study_id]!r}: {_count(gone)} gone, somebody has deleted it by SQL: "
                "the others keep their numbers; a copy of the database has it still"
            )
        if twice:
            yield (
                f"Study {names[study_id]!r}: {_count(twice)} there twice, since plain Optuna "
                "counts trials to number them: give one of them a number that is free, by SQL"
            )


def _find_unheld(connection: Connection, names: dict[int, str]) -> Iterator[str]:
    numbers = defaultdict(list)
    for study_id, number in connection.execute(text(_UNHELD)):
        numbers[study_id].append(number)
    for study_id, unheld in numbers.items():
        name = names.get(study_id)
        if name is not None:
            yield (
                f"Study {name!r}: {_count(unheld)} RUNNING, but nobody trains it: "
                f"`{_create(name)}` gives it back"
            )


def _find_odd_params(
    connection: Connection, names: dict[int, str], functions: set[int]
) -> Iterator[str]:
    known: dict[tuple[int, str], str] = {}
    for study_id in names.keys() - functions:
        known |= {(study_id, name): "FloatDistribution" for name in ("weight_decay", "lr")}
    rows = [row for row in connection.execute(text(_PARAMS)).all() if row.study_id in names]
    for row in sorted(rows, key=lambda row: not row.is_own):
        where = f"Study {names[row.study_id]!r}: trial {row.number} has {row.param_name!r}"
        kind = type(json_to_distribution(row.distribution_json)).__name__
        own = known.setdefault((row.study_id, row.param_name), kind)
        if kind != own:
            yield (
                f"{where} as {kind}, put there by another program; the study's own is {own}: "
                "samplers take it where its value fits, else they pass over it"
            )


def _count(numbers: list[int]) -> str:
    """Return e.g. ``trial 2 is`` or ``trials 2, 5 and 9 more are``."""
    shown = ", ".join(map(str, numbers[:_MOST_NUMBERS]))
    more = f" and {len(numbers) - _MOST_NUMBERS} more" if len(numbers) > _MOST_NUMBERS else ""
    return f"trial {shown} is" if len(numbers) == 1 else f"trials {shown}{more} are"


def _create(name: str) -> str:
    return f"tuner create --study {shlex.quote(name)}"
