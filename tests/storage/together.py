"""Real processes that begin at the same moment."""

from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from typing import Any

from tests.forked import context, start_server


def run_together(calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]) -> list[Any]:
    """Run each function in a process of its own, with a barrier before its other arguments.

    Return what they return, in any order.
    """
    start_server()
    barrier, results = context.Barrier(len(calls)), context.SimpleQueue()
    processes = [
        context.Process(target=_report, args=(results, function, barrier, arguments))
        for function, arguments in calls
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(calls)
    return [results.get() for _ in calls]


def _report(
    results: Any, function: Callable[..., Any], barrier: Barrier, arguments: tuple[Any, ...]
) -> None:
    results.put(function(barrier, *arguments))
