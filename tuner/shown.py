"""What a dashboard looks at, studies as they are now, and is asked, questions that it can answer.

The dashboard keeps trials and their space by the ids of studies, and SQLite gives the id of one
that was deleted, by whomever, to the next. What it does not expect in a request it fails at.
"""

import functools
from collections.abc import Callable
from typing import Any

from bottle import HTTPError, HTTPResponse, Route, request, response
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.study import StudyDirection
from optuna_dashboard._inmemory_cache import InMemoryCache

from storage import tell_apart

# Of ids: the columns are 32 bits wide, but for SQLite's.
_LARGEST_ID = 2**31 - 1
_ODD = (AttributeError, OverflowError, TypeError, ValueError, UpdateFinishedTrialError)


class ShownStorage(_CachedStorage):
    """What a dashboard looks at: trials from memory, names and directions as they are now."""

    def __init__(self, storage: RDBStorage) -> None:
        super().__init__(storage)
        self._known: dict[int, tuple[Any, ...]] = {}

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return a study's name; raises KeyError."""
        return self._backend.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return a study's directions; raises KeyError."""
        return self._backend.get_study_directions(study_id)

    def find_names(self, study_id: int) -> list[str]:
        """Return the name of the study, if there is one of this id."""
        found = tell_apart(self._backend.engine, study_id) if study_id <= _LARGEST_ID else None
        return [] if found is None else [str(found[0])]

    def find_current(self, study_id: int, forget: Callable[[], None]) -> bool:
        """Tell whether there is a study; call ``forget`` if it is another than was known by its id.

        What this itself remembers is forgotten then.
        """
        found = tell_apart(self._backend.engine, study_id)
        known = self._known.pop(study_id, None)
        if found is not None:
            self._known[study_id] = found
        if known not in (None, found):
            with self._lock:
                self._studies.clear()
                self._trial_id_to_study_id_and_number.clear()
                self._study_id_and_number_to_trial_id.clear()
            forget()
        return found is not None


class CurrentStudies:
    """Bottle's way to wrap each route: it is asked of what there is, in words that it knows."""

    name = "tuner-current"
    api = 2

    def __init__(self, shown: ShownStorage, cache: InMemoryCache) -> None:
        self._shown = shown
        self._cache = cache

    def apply(self, callback: Callable[..., Any], route: Route) -> Callable[..., Any]:
        """Return the route's function, which is not asked what it would fail at.

        That of the dashboard itself: install this last.
        """
        ask = callback if route.method == "GET" else _explain(callback)

        @functools.wraps(callback)
        def answer(**arguments: Any) -> Any:
            refusal = self._refuse(arguments)
            return ask(**arguments) if refusal is None else refusal

        return answer

    def _refuse(self, arguments: dict[str, Any]) -> HTTPResponse | None:
        study_id = arguments.get("study_id")
        ids = [value for name, value in arguments.items() if name in ("study_id", "trial_id")]
        if any(not 0 <= each <= _LARGEST_ID for each in ids):
            return _refusal(404, "There is no such study or trial")
        if study_id is not None and not self._shown.find_current(study_id, self._cache.clear):
            return _refusal(404, f"study_id={study_id} is not found")
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdigit()) or len(after) > 18:
            return _refusal(400, "`after` should be the number of a trial")
        return None


def _explain(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Let what a route that writes raises of a body be the asker's fault, where it takes JSON.

    The dashboard itself would answer 500, with a traceback in the log.
    """
    view = getattr(callback, "__wrapped__", None)  # of `json_api_view`
    if view is None:
        return callback

    def explained(**arguments: Any) -> Any:
        response.content_type = "application/json"
        try:
            return view(**arguments)
        except HTTPError as error:
            return _refusal(error.status_code, str(error.body))
        except KeyError:
            return _refusal(404, "There is no such study or trial")
        except _ODD as error:
            return _refusal(400, f"This is not what can be asked here: {error}")

    return explained


def _refusal(status: int, reason: str) -> HTTPResponse:
    return HTTPResponse({"reason": reason}, status)
