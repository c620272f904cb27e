"""What other programs have made of a study: recognised when it is opened, mended or refused.

`optuna create-study` makes a study with a direction of its own, `copy_study` and the dashboard of
Optuna leave the budget behind, plain SQL changes anything. Creating or resuming a study mends what
can be; whoever only opens it is told in one line what is wrong and which command mends it.
"""

import logging
import shlex
from collections.abc import Sequence

from optuna.storages import RDBStorage
from pydantic import ValidationError
from sqlalchemy import Engine

from storage import find_directions, mend_budget, set_direction
from tuner.errors import ContradictionError, StudyNotFoundError
from tuner.spec import Direction, Spec

logger = logging.getLogger(__name__)


def read_spec(name: str, stored: object) -> Spec:
    """Return a study's spec; raises StudyNotFoundError where the attribute is none of ours."""
    try:
        return Spec.model_validate(stored)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "all of it"
        raise StudyNotFoundError(
            f"Study {name!r} has a spec that this version does not know ({where}): it was made by "
            "another program or a newer lambda-tuner; update it, or choose another --study"
        ) from error


def explain_lost_budget(name: str) -> str:
    """Return the line about a study that has come without its budget."""
    return (
        f"Study {name!r} has no budget, since another program has copied or renamed it: "
        f"`{_create(name)}` gives it one"
    )


def explain_empty(name: str) -> str:
    """Return the line about a study that another program has only created."""
    return (
        f"Study {name!r} was made by another program, and is empty: `{_create(name)}` makes it "
        "one of ours"
    )


def check_directions(engine: Engine, study_id: int, name: str, spec: Spec) -> None:
    """Refuse a study whose stored direction is not its spec's: samplers obey what is stored.

    Raises StudyNotFoundError.
    """
    stored = find_directions(engine, study_id)
    if stored == [spec.direction]:
        return
    where = " and ".join(stored) or "do nothing"
    said = f"Study {name!r} is stored to {where}, not to {spec.direction}"
    if len(stored) != 1:
        raise StudyNotFoundError(f"{said}: another program has changed it; choose another --study")
    raise StudyNotFoundError(
        f"{said} as its spec says: another program has changed it; `{_create(name)}` sets it right"
    )


def mend(engine: Engine, study_id: int, name: str, spec: Spec, n_trials: int) -> None:
    """Give a study of ours what it has lost: its direction, and its budget.

    ``n_trials`` is a budget that has to be made anew, if no more trials are finished. Raises
    StudyNotFoundError where it has several objectives.
    """
    stored = find_directions(engine, study_id)
    if len(stored) == 1 and stored != [spec.direction]:
        set_direction(engine, study_id, spec.direction)
        logger.warning("Study %r was stored to %s: that is mended", name, stored[0])
    check_directions(engine, study_id, name, spec)
    n_finished = mend_budget(engine, study_id, n_trials)
    if n_finished is not None:
        logger.warning(
            "Study %r had no budget, since another program has copied or renamed it: it has one "
            "now, with %d finished trials",
            name,
            n_finished,
        )


def check_may_be_adopted(storage: RDBStorage, name: str, direction: Direction) -> None:
    """Refuse to make an empty study of several objectives ours (ContradictionError).

    One of another direction will be set right: that is said.
    """
    stored: Sequence[str]
    try:
        stored = find_directions(storage.engine, storage.get_study_id_from_name(name))
    except KeyError:  # there is none, as a rule
        return
    if len(stored) != 1:
        raise ContradictionError(
            f"Study {name!r} is there already, made by another program, with {len(stored)} "
            f"objectives ({', '.join(stored)}): choose another --study"
        )
    if stored != [direction]:
        message = "Study %r was made by another program to %s, and is empty: it is now to %s"
        logger.warning(message, name, stored[0], direction)


def _create(name: str) -> str:
    return f"tuner create --study {shlex.quote(name)}"
