"""Confirmations that somebody wishes, carried out by crews that serve all studies."""

import logging
from dataclasses import asdict, replace

from rich.console import Console
from sqlalchemy import Engine

from storage import StudyRecord, list_over, open_storage
from tuner.allowed import AllowedObjectives
from tuner.answer.record import publish
from tuner.confirmation.confirm import ConfirmRequest, confirm_study
from tuner.confirmation.wish import WISH, Wish, find_wish
from tuner.errors import NoResultError, UsageError
from tuner.study import load_study
from tuner.workers.config import WorkerConfig
from tuner.workers.shutdown import Leaving

logger = logging.getLogger(__name__)


def list_due(engine: Engine) -> list[StudyRecord]:
    """Return the studies whose search is over and that wait to be confirmed, in turn."""
    return [
        study
        for study, stored in list_over(engine, WISH)
        if Wish(**stored).n_trials != study.n_finished
    ]


def fulfil(config: WorkerConfig, leaving: Leaving) -> None:
    """Confirm a study with the trainers of this crew, and record the answer.

    Others that do so at the same time share the work. Raises NotAllowedError for code that this
    crew may not run, and what training raises; the study then still waits.
    """
    retry = config.retry(leaving)
    storage = open_storage(config.storage_url)
    loaded = retry.call("open the study", lambda: load_study(storage, config.study_name))
    (config.allowed or AllowedObjectives()).check(loaded.spec.objective)
    wish = find_wish(loaded.study.user_attrs) or Wish()
    n_trials, why_not = loaded.load_budget().n_finished, None
    logger.info("Study %r: confirming λ", loaded.name)
    try:
        request = ConfirmRequest(config, config.n_trainers, wish.n_seeds)
        confirm_study(request, Console(quiet=True), leaving)
    except (NoResultError, UsageError) as error:
        why_not = str(error)
        logger.warning("Study %r is not confirmed: %s", loaded.name, why_not)
    else:
        retry.call("record the answer", lambda: publish(loaded))
        logger.info("Study %r: confirmed", loaded.name)
    settled = asdict(replace(wish, n_trials=n_trials, why_not=why_not))
    retry.call("note the confirmation", lambda: loaded.study.set_user_attr(WISH, settled))
