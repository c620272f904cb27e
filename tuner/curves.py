"""Keep the dashboard quick on long studies: it draws a curve and a legend's line for every trial.

Two thousand of them keep a browser busy for many seconds. So those of most trials are left out of
what the page is sent; a trial's own page still shows the numbers, as an attribute.
"""

import functools
from collections.abc import Callable
from typing import Any

from bottle import Route

# Newest trials whose curves are drawn; beside them, the best.
MOST_CURVES = 100

ATTRIBUTE = "intermediate_values"

_STUDY = "/api/studies/<study_id:int>"


class FewerCurves:
    """Bottle's way to wrap a route: the one that answers with a study and its trials."""

    name = "tuner-curves"
    api = 2

    def apply(self, callback: Callable[..., Any], route: Route) -> Callable[..., Any]:
        """Return the route's function, its answer thinned out."""
        if (route.method, route.rule) != ("GET", _STUDY):
            return callback

        @functools.wraps(callback)
        def thinned(**arguments: Any) -> Any:
            answer = callback(**arguments)
            if isinstance(answer, dict) and "trials" in answer:
                leave_out_curves(answer)
            return answer

        return thinned


def leave_out_curves(study: dict[str, Any]) -> None:
    """Move the curves of old trials of the dashboard's document into their attributes."""
    best = {trial["number"] for trial in study["best_trials"]}
    for trial in study["trials"][:-MOST_CURVES]:
        values = trial["intermediate_values"]
        if not values or trial["number"] in best or trial["state"] == "Running":
            continue
        text = ", ".join(f"{value['step']}: {value['value']}" for value in values)
        trial["user_attrs"].append({"key": ATTRIBUTE, "value": text})
        trial["intermediate_values"] = []
