"""The dashboard's "rename", in place: its own copies the study and deletes the one that it was.

So a study keeps its id, its trials, its budget, its exported versions and its pin; its confirmation
is renamed with it.
"""

from collections.abc import Callable
from typing import Any

from bottle import HTTPResponse, Route, request
from optuna.storages import RDBStorage
from optuna.study._frozen import FrozenStudy
from optuna_dashboard._bottle_util import json_api_view
from optuna_dashboard._serializer import serialize_frozen_study
from optuna_dashboard._storage import get_study

from storage import creation_lock, list_workers, rename_studies
from tuner.confirmation.values import CONFIRMATION
from tuner.errors import ContradictionError, StudyNotFoundError, TunerError, UsageError
from tuner.foreign import read_spec
from tuner.spec import check_name_and_budget
from tuner.study import SPEC, confirmation_name, describe_spec

_RULE = "/api/studies/<study_id:int>/rename"
_STATUS = {StudyNotFoundError: 404, ContradictionError: 409, UsageError: 400}


class Renames:
    """Bottle's way to wrap a route: the one that renames a study."""

    name = "tuner-renames"
    api = 2

    def __init__(self, storage: RDBStorage) -> None:
        self._storage = storage

    def apply(self, callback: Callable[..., Any], route: Route) -> Callable[..., Any]:
        """Return a function that renames in place, for that route."""
        if (route.method, route.rule) != ("POST", _RULE):
            return callback
        rename: Callable[..., Any] = json_api_view(self._rename)
        return rename

    def _rename(self, study_id: int) -> Any:
        given = request.json
        name = given.get("study_name") if isinstance(given, dict) else None
        if not isinstance(name, str):
            return HTTPResponse({"reason": "study_name is missing"}, 400)
        try:
            rename_study(self._storage, study_id, name)
        except TunerError as error:
            return HTTPResponse({"reason": str(error)}, _STATUS.get(type(error), 400))
        renamed = get_study(self._storage, study_id)
        if renamed is None:  # deleted just now
            return HTTPResponse({"reason": f"study_id={study_id} is not found"}, 404)
        return HTTPResponse(serialize_frozen_study(renamed), 201)


def rename_study(storage: RDBStorage, study_id: int, name: str) -> None:
    """Rename a study, and with it the study that confirms it.

    Raises StudyNotFoundError, UsageError for a name that no study may have or another one has, and
    ContradictionError while workers are at it: they would look for the old name.
    """
    check_name_and_budget(name, None)
    with creation_lock(storage.url):
        studies = {study._study_id: study for study in storage.get_all_studies()}
        if study_id not in studies:
            raise StudyNotFoundError(f"study_id={study_id} is not found")
        names, attrs = _plan(studies, study_id, name)
        taken = [s.study_name for i, s in studies.items() if i not in names]
        for wanted in names.values():
            if wanted in taken:
                raise UsageError(f"There is a study {wanted!r} already: choose another name")
        _check_is_idle(storage, studies, names)
        if not rename_studies(storage.engine, names, attrs):
            raise UsageError(f"There is a study {name!r} already: choose another name")


def _plan(
    studies: dict[int, FrozenStudy], study_id: int, name: str
) -> tuple[dict[int, str], dict[int, dict[str, Any]]]:
    """Return the new names, by id, and the attributes in which they stand."""
    study, names, attrs = studies[study_id], {study_id: name}, {}
    if SPEC not in study.user_attrs:
        return names, {}
    confirms = read_spec(study.study_name, study.user_attrs[SPEC]).confirms
    if confirms is not None:
        raise UsageError(
            f"Study {study.study_name!r} is the confirmation of {confirms!r}: rename that one"
        )
    for other_id, other in studies.items():
        if other.study_name == confirmation_name(study.study_name) and SPEC in other.user_attrs:
            spec = read_spec(other.study_name, other.user_attrs[SPEC])
            names[other_id] = confirmation_name(name)
            attrs[other_id] = describe_spec(spec.model_copy(update={"confirms": name}))
    if CONFIRMATION in study.user_attrs:
        confirmation = {**study.user_attrs[CONFIRMATION], "study": confirmation_name(name)}
        attrs[study_id] = {CONFIRMATION: confirmation}
    return names, attrs


def _check_is_idle(
    storage: RDBStorage, studies: dict[int, FrozenStudy], names: dict[int, str]
) -> None:
    for study_id in names:
        workers = [w for w in list_workers(storage.engine, study_id) if not w.is_lost]
        if workers:
            name = studies[study_id].study_name
            raise ContradictionError(
                f"Study {name!r} has {len(workers)} workers, that know it by this name: stop it "
                "first, and resume it when it is renamed"
            )
