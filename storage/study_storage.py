"""What a storage for one study answers about the study itself; its trials are a subclass's."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy

from storage.limits import Limits
from storage.resilience import Retry

T = TypeVar("T")


class StudyStorage(BaseStorage):
    """Passes on to Optuna's storage what is rarely asked, and remembers what never changes.

    What is asked of the study itself is repeated as ``retry`` does; it is safe to repeat.
    """

    def __init__(self, inner: RDBStorage, study_id: int, retry: Retry) -> None:
        self._inner = inner
        self._study_id = study_id
        self._retry = retry
        self._limits = Limits.of(inner.engine.dialect.name)
        self._name = self._ask(inner.get_study_name_from_id)
        self._directions = self._ask(inner.get_study_directions)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A worker's storage belongs to its process: pass the URL instead")

    def _ask(self, question: Callable[[int], T]) -> T:
        return self._retry.call("read the study", lambda: question(self._study_id))

    def _check_study(self, study_id: int) -> None:
        if study_id != self._study_id:
            raise KeyError(f"This storage is for study {self._study_id}, not {study_id}")

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Create another study, for other storages."""
        return self._inner.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """Delete a study."""
        self._inner.delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a user attribute of a study; raises ValueError if the database does not take it."""
        self._limits.check_attr(key, value, "user attribute of the study")
        write = functools.partial(self._inner.set_study_user_attr, study_id, key, value)
        self._retry.call("write an attribute of the study", write)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a system attribute of a study; raises ValueError if the database does not take it."""
        self._limits.check_attr(key, value, "system attribute of the study")
        write = functools.partial(self._inner.set_study_system_attr, study_id, key, value)
        self._retry.call("write an attribute of the study", write)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of a study; raises KeyError."""
        if study_name == self._name:
            return self._study_id
        return self._inner.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the study's name; raises KeyError for another study."""
        self._check_study(study_id)
        return self._name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return the study's directions; raises KeyError for another study."""
        self._check_study(study_id)
        return self._directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the user attributes of a study, read now."""
        self._check_study(study_id)
        return self._ask(self._inner.get_study_user_attrs)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the system attributes of a study, read now."""
        self._check_study(study_id)
        return self._ask(self._inner.get_study_system_attrs)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies of the database."""
        return self._inner.get_all_studies()
