"""Set up logging for a process: everything goes to stderr, stdout is for results."""

import logging
import sys


def set_up_logging(level: int) -> None:
    """Log our packages at ``level`` and everybody else's warnings, one line each."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    for package in ("tuner", "objectives", "storage"):
        logging.getLogger(package).setLevel(level)
    # Optuna sets its own root logger up when it is imported, which is later; not those below it.
    for module in ("samplers", "storages", "study", "trial"):
        logging.getLogger(f"optuna.{module}").setLevel(logging.WARNING)
