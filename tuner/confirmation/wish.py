"""That somebody wants a study to be confirmed: an attribute of the study, for whoever trains.

It stands: a search that was extended is confirmed again.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tuner.study import LoadedStudy

WISH = "confirmation_wish"


@dataclass(frozen=True)
class Wish:
    """A confirmation that is wanted; ``n_seeds`` as in ``ConfirmRequest``.

    ``n_trials`` is how many the search had finished when it was carried out, None before;
    ``why_not`` says why it could not be.
    """

    n_seeds: int | None = None
    n_trials: int | None = None
    why_not: str | None = None

    def tell(self, n_finished: int) -> dict[str, Any]:
        """Return what has become of it, beside a search with so many finished trials."""
        if self.n_trials != n_finished:
            return {"state": "waiting", "why_not": None}
        return {"state": "done" if self.why_not is None else "refused", "why_not": self.why_not}


def ask(loaded: LoadedStudy, *, n_seeds: int | None = None) -> None:
    """Ask for a confirmation once the search is over; for another one, if there is one."""
    loaded.study.set_user_attr(WISH, asdict(Wish(n_seeds)))


def ask_once(loaded: LoadedStudy) -> None:
    """Ask unless somebody has: who creates a study may do so again."""
    if find_wish(loaded.study.user_attrs) is None:
        ask(loaded)


def find_wish(attrs: Mapping[str, Any]) -> Wish | None:
    """Return what was asked for, by a study's user attributes."""
    stored = attrs.get(WISH)
    return None if stored is None else Wish(**stored)
