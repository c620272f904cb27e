"""Let others know how long this process's calls to a database take, and why they fail."""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from storage.causes import Cause, classify

_TAKEN_AT = "tuner_taken_at"


def watch_calls(
    engine: Engine | type[Engine],
    on_call: Callable[[float], None],
    on_error: Callable[[Cause], None],
) -> None:
    """Tell from now on the seconds of each call of an engine, or of all, and causes of errors.

    A call is what a connection is taken from the pool for: its statements, their commit and what is
    done in between. Both functions are called by the thread that calls, so they have to be quick.
    """

    @event.listens_for(engine, "checkout")
    def _(_connection: Any, record: Any, _proxy: Any) -> None:
        record.info[_TAKEN_AT] = time.perf_counter()

    @event.listens_for(engine, "checkin")
    def _(_connection: Any, record: Any) -> None:
        taken_at = record.info.pop(_TAKEN_AT, None)
        if taken_at is not None:  # None: it could not even be opened
            on_call(time.perf_counter() - taken_at)

    @event.listens_for(engine, "handle_error")
    def _(context: ExceptionContext) -> None:
        on_error(classify(context.sqlalchemy_exception or context.original_exception))
