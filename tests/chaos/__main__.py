"""Run chaos for as long as wanted: ``python -m tests.chaos --seconds 120 --seed 7``."""

import argparse
import logging
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.harness import Plan, run


def main() -> int:
    """Run one plan; return 0 if the study survived it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what was started
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    plan = _read_plan()
    print(f"seed {plan.seed}, {plan.seconds:g} s of faults, logs in {plan.folder}", flush=True)
    began_at = time.monotonic()
    outcome = run(plan)
    faults = ", ".join(f"{n} {name}" for name, n in sorted(outcome.faults.items()))
    if outcome.problems:
        print(outcome.describe())
    print(f"{outcome.summary}; faults: {faults}; {time.monotonic() - began_at:.0f} s; ", end="")
    print(f"{len(outcome.problems)} problems" if outcome.problems else "the study is in order")
    return 1 if outcome.problems else 0


def _read_plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--faults", default=",".join(FAULTS), help="some of: %(default)s")
    parser.add_argument("--folder", type=Path, help="for the workers' logs (default: a new one)")
    given = parser.parse_args()
    faults = tuple(name for name in given.faults.split(",") if name)
    if unknown := set(faults) - set(FAULTS):
        parser.error(f"no fault is called {', '.join(sorted(unknown))}")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="tuner_chaos_"))
    return Plan(folder, given.seed, given.seconds, given.workers, faults)


if __name__ == "__main__":
    sys.exit(main())
