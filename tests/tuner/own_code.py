"""Objectives as people write them, and worse: each is copied into a user's folder as `mine`."""

import argparse
import builtins
import contextvars
import ctypes
import decimal
import logging
import multiprocessing
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings

import optuna


def _spoils(trial):
    """Tell whether it is the trial's turn: every second is well."""
    trial.suggest_float("x", 0, 1)
    return trial.number % 2 == 1


def exits(trial):
    if _spoils(trial):
        sys.exit("not supported")
    return 1.0


def parses_the_command_line(trial):
    if _spoils(trial):
        parser = argparse.ArgumentParser()
        parser.add_argument("--mine", required=True)
        parser.parse_args()
    return 1.0


def interrupts_itself(trial):
    if _spoils(trial):
        raise KeyboardInterrupt
    return 1.0


class Odd(BaseException):
    pass


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def raises_a_base_exception(trial):
    if _spoils(trial):
        raise Odd("x")
    return 1.0


def raises_what_has_no_text(trial):
    if _spoils(trial):
        raise Mute
    return 1.0


def returns_text(trial):
    return "abc" if _spoils(trial) else 1.0


def returns_two_values(trial):
    return (1, 2) if _spoils(trial) else (1,)


class Shy:
    def __repr__(self):
        raise RuntimeError("no")


def returns_what_cannot_be_shown(trial):
    return Shy() if _spoils(trial) else 1.0


class Leaver(Exception):
    def __str__(self):
        sys.exit(3)

    __repr__ = __float__ = __str__


def raises_what_leaves_when_shown(trial):
    if _spoils(trial):
        raise Leaver
    return 1.0


def returns_what_leaves_when_read(trial):
    return Leaver() if _spoils(trial) else 1.0


def returns_nan(trial):
    return float("nan") if _spoils(trial) else float("inf")


def a_coroutine(trial):
    async def train():
        return 1.0

    if not _spoils(trial):
        return 1.0
    coroutine = train()
    coroutine.close()
    return coroutine


def takes_too_many_arguments(trial, config=None):
    if _spoils(trial):
        raise TypeError("takes_too_many_arguments() missing 1 required positional argument")
    return 1.0


def _nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def keeps_what_is_too_deep(trial):
    if _spoils(trial):
        trial.set_user_attr("tree", _nested(900))
    return 1.0


def takes_the_mark_of_what_is_run_again(trial):
    if _spoils(trial):
        trial.set_user_attr("given_back", "mine")
    return 1.0


def queues_what_is_too_deep(trial):
    if _spoils(trial):
        trial.study.enqueue_trial({"x": 0.5}, user_attrs={"tree": _nested(900)})
    return 1.0


def swallows_interrupts(trial):
    x = trial.suggest_float("x", 0, 1)
    try:
        for step in range(6000):
            trial.report(x, step)
            time.sleep(0.05)
    except BaseException:
        print("stopping early, keeping the model so far")
    return x


def takes_signals_over(trial):
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: print("checkpoint requested"))
    return swallows_interrupts(trial)


def hangs(trial):
    trial.suggest_float("x", 0, 1)
    if trial.number == 2:
        threading.Event().wait()
    return 1.0


def takes_long_beside_complete(trial):
    if trial.number == 5:
        time.sleep(6)
    return 1.0


def takes_long_beside_pruned(trial):
    if trial.number < 5:
        raise optuna.TrialPruned
    time.sleep(6)
    return 1.0


def falls_silent(trial):
    trial.report(1, 1)
    return hangs(trial)


def hangs_deaf(trial):
    trial.suggest_float("x", 0, 1)
    while trial.number == 2:
        try:
            time.sleep(60)
        except BaseException:
            pass
    return 1.0


def _is_the_one(trial):
    """Tell whether this is the second trial, or its rerun."""
    return abs(trial.suggest_float("x", 0, 1) - _second_x(trial)) < 1e-12


def _second_x(trial):
    file = "second.txt"
    if trial.number == 1:
        with open(file, "w") as stream:
            stream.write(repr(trial.params["x"]))
    if not os.path.exists(file):
        return -1
    with open(file) as stream:
        return float(stream.read() or -1)


def kills_its_process(trial):
    if _is_the_one(trial):
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0


def ends_its_process(trial):
    if _is_the_one(trial):
        os._exit(3)
    return 1.0


def crashes(trial):
    if _is_the_one(trial):
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        ctypes.string_at(0)
    return 1.0


_calls = 0


def leaks(trial):
    global _calls
    _calls += 1
    x = trial.suggest_float("x", 0, 1)
    if _calls == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def tells_its_process(trial):
    trial.set_user_attr("pid", os.getpid())
    return 1.0


def typo(trial):
    return trial.suggest_flaot("x", 0, 1)


def breaks_in_one_process(trial):
    trial.suggest_float("x", 0, 1)
    try:
        os.close(os.open("broken", os.O_CREAT | os.O_EXCL))
        with open("broken", "w") as stream:
            stream.write(str(os.getpid()))
    except FileExistsError:
        pass
    time.sleep(0.3)
    with open("broken") as stream:
        if stream.read() == str(os.getpid()):
            time.sleep(0.3)
            raise RuntimeError("CUDA error: device-side assert triggered")
    return 1.0


def is_out_of_memory_once(trial):
    trial.suggest_float("x", 0, 1)
    if trial.number == 0:
        raise MemoryError("CUDA out of memory")
    return 1.0


def _look_around():
    import numpy
    import torch

    return {
        "folder": os.getcwd(),
        "environment": sorted(os.environ.items()),
        "dtype": str(torch.get_default_dtype()),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "device": str(torch.get_default_device()),
        "handlers": [str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM)],
        "path": sys.path,
        "argv": sys.argv,
        "log": [logging.root.level, len(logging.root.handlers), logging.root.manager.disable],
        "stdout": sys.stdout is sys.stderr,
        "filters": len(warnings.filters),
        "start_method": multiprocessing.get_start_method(),
        "precision": decimal.getcontext().prec,
        "numpy": numpy.geterr()["divide"],
        "mask": os.umask(os.umask(0)),
        "recursion": sys.getrecursionlimit(),
        "late logger": _describe(logging.getLogger("mine.late")),
        "print": str(print),
        "blocked": [str(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "files": [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)],
        "limit": resource.getrlimit(resource.RLIMIT_NOFILE),
        "timeout": socket.getdefaulttimeout(),
        "cores": sorted(os.sched_getaffinity(0)),
        "niceness": os.nice(0),
        "variable": _variable.get(),
        "tracebacks": hasattr(sys, "tracebacklimit"),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


_variable = contextvars.ContextVar("mine", default=0)


def _describe(logger):
    return [logger.level, len(logger.handlers), logger.propagate]


def _leave_more_changed():
    import torch

    logger = logging.getLogger("mine.late")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(logging.NullHandler())
    builtins.print = None
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    for number in (1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), number)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, most))
    socket.setdefaulttimeout(1)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    os.nice(1)
    _variable.set(1)
    sys.tracebacklimit = 0
    torch.set_autocast_enabled("cpu", True)


def leaves_everything_changed(trial):
    import io

    import numpy
    import torch

    trial.set_user_attr("found", _look_around())
    os.chdir(tempfile.mkdtemp())
    os.environ["MINE"] = "1"
    os.environ.pop("HOME", None)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(7)
    torch.set_default_device("meta")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.path.insert(0, "/nowhere")
    sys.argv = [*sys.argv, "--mine"]
    logging.basicConfig(level=logging.DEBUG, force=True)
    logging.disable(logging.CRITICAL)
    sys.stdout = io.StringIO()
    warnings.simplefilter("error")
    multiprocessing.set_start_method("spawn", force=True)
    decimal.getcontext().prec = 3
    numpy.seterr(divide="raise")
    os.umask(0o777)
    sys.setrecursionlimit(5000)
    _leave_more_changed()
    return 1.0


def closes_its_streams(trial):
    sys.stdout.write("still here\n")
    sys.stdout.close()
    sys.stderr.close()
    return 1.0


def draws(trial):
    import numpy
    import torch

    trial.set_user_attr("drawn", [random.random(), numpy.random.rand(), float(torch.rand(()))])
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)
    return 1.0


def counts_threads(trial):
    import numpy
    import threadpoolctl
    import torch

    numpy.ones((8, 8)) @ numpy.ones((8, 8))
    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    trial.set_user_attr("threads", {**pools, "torch": torch.get_num_threads()})
    trial.set_user_attr("variable", os.environ.get("OMP_NUM_THREADS"))
    return 1.0


_VISIBLE = os.environ.get("CUDA_VISIBLE_DEVICES")


def tells_its_device(trial):
    trial.set_user_attr("visible", _VISIBLE)
    return 1.0


def report_step(trial, step):
    trial.report(step / 4, step)


def suggest_more(trial):
    trial.suggest_float("y", 0, 1)
    trial.set_user_attr("seen", trial.params["x"])


def _run_all(trial, make):
    trial.suggest_float("x", 0, 1)
    workers = [make(target=report_step, args=(trial, step)) for step in range(4)]
    workers.append(make(target=suggest_more, args=(trial,)))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert getattr(worker, "exitcode", 0) == 0
    return 1.0


def in_threads(trial):
    return _run_all(trial, threading.Thread)


def in_forked_processes(trial):
    return _run_all(trial, multiprocessing.get_context("fork").Process)


def in_spawned_processes(trial):
    return _run_all(trial, multiprocessing.get_context("spawn").Process)


def in_joblib(trial):
    import joblib

    trial.suggest_float("x", 0, 1)
    steps = [joblib.delayed(report_step)(trial, step) for step in range(4)]
    joblib.Parallel(n_jobs=2)([*steps, joblib.delayed(suggest_more)(trial)])
    return 1.0


def stops_after_three(trial):
    x = trial.suggest_float("x", 0, 1)
    told = trial.study.user_attrs.get("told", [])
    trial.study.set_user_attr("told", [*told, trial.number])
    finished = [each for each in trial.study.trials if each.state.is_finished()]
    assert all(0 <= each.params["x"] <= 1 for each in finished)
    if len(finished) == 2:
        assert trial.study.best_value == max(each.value for each in finished)
        trial.study.stop()
    return x


def queues_a_trial(trial):
    if trial.number == 0:
        trial.study.enqueue_trial({"x": 0.25})
    return trial.suggest_float("x", 0, 1)


def yields_an_epoch(trial):
    x = trial.suggest_float("x", 0, 1)
    try:
        for epoch in range(1, 5):
            yield x + epoch
    finally:
        trial.set_user_attr("cleaned up", True)


def yields_worse_by_trial(trial):
    for epoch in range(20):
        trial.set_user_attr("last epoch", epoch)
        yield -float(trial.number)


def _report_once(trial, value):
    trial.report(value, 1)
    if trial.should_prune():
        raise optuna.TrialPruned
    return value


def waits_for_others_to_end(trial):
    """The third trial knows of two that ended when it begins; what it reports is the worst."""
    if trial.number != 2:
        return _report_once(trial, 1.0)
    assert not trial.should_prune()
    states = (optuna.trial.TrialState.COMPLETE,)
    while len(trial.study.get_trials(states=states)) < 6:
        time.sleep(0.01)
    return _report_once(trial, 0.0)


def reports_worse_by_a_process(trial):
    if trial.number != 6:
        return _report_once(trial, 1.0)
    process = multiprocessing.get_context("fork").Process(target=trial.report, args=(0.0, 1))
    process.start()
    process.join()
    if trial.should_prune():
        raise optuna.TrialPruned
    return 1.0


def yields_nothing(trial):
    yield from ()


def yields_text(trial):
    yield "abc"
