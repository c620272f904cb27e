"""A trainer's process from its first instruction to its last."""

import atexit
import contextlib
import importlib
import logging
import os
import random
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

from objectives import ObjectiveError
from tuner.logs import about, set_up_logging
from tuner.workers.devices import choose_device, limit_threads
from tuner.workers.link import Link
from tuner.workers.messages import FunctionWork, Job, LaneWork, Opening, Seat

logger = logging.getLogger(__name__)


def run_trainer(end: socket.socket, train: Callable[[Link, LaneWork], None] | None = None) -> int:
    """Train what the coordinator says; return the exit status.

    ``train`` is what trains lanes where they were open when this process was forked.
    """
    link = Link(end)
    seat, work = link.receive_work()
    _take_seat(seat)
    try:
        with about(**seat.about):
            if isinstance(work, Opening):
                return _open_for_others(end, seat, work.work)
            _work(link, seat, work, train)
    except KeyboardInterrupt:
        pass  # told to leave
    except BaseException as error:
        logger.critical("A trainer has failed", exc_info=error)
        with contextlib.suppress(BaseException):
            link.tell("refused", "", f"{type(error).__name__}: {error}")
        return 1
    finally:
        _end()
    return 0


def _take_seat(seat: Seat) -> None:
    """Be where the coordinator was started, with its surroundings and this trainer's share."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is printed here is no result
    os.environ.clear()
    os.environ.update(seat.environment)
    time.tzset()
    os.chdir(seat.folder)
    sys.argv = list(seat.arguments)
    limit_threads(seat.n_threads)
    random.seed()  # or all that are forked from one process would draw the same
    set_up_logging(seat.log_level, seat.log_format)
    sys.stdout = sys.stderr


def _open_for_others(end: socket.socket, seat: Seat, work: LaneWork) -> int:
    """Open the study that trainers are forked to train; return the exit status.

    On an accelerator each opens its own, at the same time.
    """
    from tuner.workers.forking import serve_or_train
    from tuner.workers.lane_trainer import may_be_forked, open_lanes, runs_on_cpu, train_lanes

    device = choose_device(seat)
    if not runs_on_cpu(device):
        return serve_or_train(end, run_trainer, fits=False)
    lanes = open_lanes(work, device, seat.n_threads)
    run = partial(run_trainer, train=partial(train_lanes, lanes))
    return serve_or_train(end, run, fits=may_be_forked(lanes))


def _work(
    link: Link,
    seat: Seat,
    work: FunctionWork | LaneWork | Job,
    train: Callable[[Link, LaneWork], None] | None,
) -> None:
    device = choose_device(seat)
    match work:
        case LaneWork() if train is not None:
            train(link, work)
        case LaneWork():
            from tuner.workers.lane_trainer import open_lanes, train_lanes

            train_lanes(open_lanes(work, device, seat.n_threads), link, work)
        case FunctionWork():
            from tuner.workers.function_trainer import train_functions

            train_functions(link, work, device, seat.folder)
        case Job():
            _do(link, work)


def _do(link: Link, job: Job) -> None:
    module, _, name = job.function.partition(":")
    try:
        result = getattr(importlib.import_module(module), name)(job.argument)
    except ObjectiveError as error:
        link.tell("refused", type(error).__name__, str(error))
    else:
        link.tell("result", result)


def _end() -> None:
    """Do what Python does at its end, except for waiting for threads."""
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
