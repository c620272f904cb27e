"""Send the API what its own OpenAPI document allows, and what it does not, as each role.

`python -m benchmarks.fuzz --cases 5000` starts `tuner serve` on a new SQLite file and counts
answers by status, those of 5xx, those that the document does not allow, and what a viewer has
changed. Exit status 1 if any of the last three is not zero. Events are left out: they do not end.
"""

import argparse
import collections
import contextlib
import itertools
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import SkipTest
from urllib.parse import quote

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import Engine, text

from benchmarks.service import serving
from storage import Role, create_storage, create_token, set_study_state
from tuner.study import create_or_resume, open_confirmation

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
_SEARCHED = ["fuzzed", "50 %", "ä ö"]
_NAMES = [*_SEARCHED, "fuzzed/confirm"]
_DIGITS = {"dataset": "digits", "epochs": 2, "train_size": 100}
# What a viewer must not be able to change.
_TABLES = ("studies", "tuner_budgets", "trials", "tuner_exports", "tuner_users", "tuner_tokens")


@dataclass
class Tally:
    """What came back."""

    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def n_cases(self) -> int:
        """How many requests were answered."""
        return sum(self.statuses.values())

    @property
    def n_5xx(self) -> int:
        """How many answers say that the server has failed."""
        return sum(n for status, n in self.statuses.items() if status >= 500)


def fuzz(url: str, engine: Engine, n_cases: int, first_seed: int = 0) -> Tally:
    """Send about ``n_cases`` requests to a running service as each role, and check all answers."""
    tokens = {role: create_token(engine, role, name=f"fuzz-{role.value}")[1] for role in Role}
    document = requests.get(
        f"{url}/v1/openapi.json", headers=_bearer(tokens[Role.VIEWER]), timeout=30
    ).json()
    del document["security"]  # or a fifth of the requests would come without our token
    schema = schemathesis.openapi.from_dict(document)
    found = [operation.ok() for operation in schema.get_all_operations()]  # type: ignore[union-attr]
    operations = [operation for operation in found if not operation.path.endswith("/events")]
    tally = Tally()
    n_each = max(1, round(n_cases / len(operations) / len(Role)))
    # Drawn once, which costs more than to send them: each role sends the same.
    drawn = [_draw(operation, n_each, first_seed + i) for i, operation in enumerate(operations)]
    cases = list(itertools.chain(*drawn))
    for role in Role:
        _fill(engine)
        before = _dump(engine)
        with requests.Session() as session:
            session.headers.update(_bearer(tokens[role]))
            for case in cases:
                _send(case, url, session, tally)
        print(f"{role}: {tally.n_cases} cases, {len(tally.failures)} failures", file=sys.stderr)
        if role is Role.VIEWER and (after := _dump(engine)) != before:
            tally.failures.append(f"a viewer has changed {_differences(before, after)}")
    return tally


def _draw(operation: Any, n: int, first_seed: int) -> list[Any]:
    """Return one operation's cases, half of them as the document allows."""
    cases: list[Any] = []
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

        @seed(first_seed)
        @settings(
            max_examples=max(1, n // 2),
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode), st.sampled_from([None, *_NAMES]))
        def keep(case: Any, name: str | None) -> None:
            # Else no path would lead to a study that is there.
            if name is not None and "name" in (case.path_parameters or {}):
                case.path_parameters["name"] = quote(name, safe="")
            cases.append(case)

        # Of an operation without parameters there are no cases that the document forbids.
        with contextlib.suppress(Unsatisfiable, SkipTest):
            keep()
    return cases


def _send(case: Any, url: str, session: requests.Session, tally: Tally) -> None:
    """Send a case, count the answer and check it."""
    response = case.call(base_url=url, session=session, timeout=60)
    tally.statuses[response.status_code] += 1
    try:
        case.validate_response(response, checks=_CHECKS)
    except Exception as error:  # noqa: BLE001 (counted; the next case shall be sent too)
        label = f"{case.operation.method.upper()} {case.operation.path}"
        tally.failures.append(f"{label}: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    inner = getattr(error, "exceptions", (error,))
    return " ".join(" | ".join(str(one) for one in inner).split())[:600]


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _fill(engine: Engine) -> None:
    """Let there be studies with trials, also after an admin has deleted them."""
    url = engine.url.render_as_string(hide_password=False)
    storage = create_storage(url)
    searched = [create_or_resume(storage, name, _DIGITS, n_trials=20) for name in _SEARCHED]
    for loaded in [*searched, open_confirmation(searched[0])]:
        for value in (0.9, 0.8, None):
            trial = loaded.study.ask()
            trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
            trial.suggest_float("lr", 1e-3, 1, log=True)
            if value is not None:
                loaded.study.tell(trial, value)
        set_study_state(storage.engine, loaded.study_id, "stopped")
    storage.engine.dispose()


def _dump(engine: Engine) -> dict[str, list[Any]]:
    with engine.connect() as connection:
        return {
            table: sorted(map(repr, connection.execute(text(f"SELECT * FROM {table}"))))
            for table in _TABLES
        }


def _differences(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> str:
    return ", ".join(table for table in before if before[table] != after[table])


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=5000, help="how many requests, about")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'tuner.db'}"
        engine = create_storage(url).engine
        create_token(engine, Role.ADMIN)
        started = time.monotonic()
        with serving(url, folder) as server:
            tally = fuzz(server.url, engine, arguments.cases, arguments.seed)
        seconds = time.monotonic() - started
    print(
        json.dumps(
            {
                "cases": tally.n_cases,
                "statuses": dict(sorted(tally.statuses.items())),
                "5xx": tally.n_5xx,
                "failures": len(tally.failures),
                "seconds": round(seconds, 1),
            }
        )
    )
    for failure, n in collections.Counter(tally.failures).most_common(20):
        print(f"{n} x {failure}")
    return 1 if tally.failures or tally.n_5xx else 0


if __name__ == "__main__":
    sys.exit(main())
