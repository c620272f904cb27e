"""The command ``tuner``, also as ``python -m tuner``.

It is light: what trainers import is begun before what the command itself imports.
"""

import os
import sys

from tuner.names import ROOT, claim


def main() -> None:
    """Run the command line."""
    _leave_users_folder()
    try:
        if sys.argv[1:2] in (["run"], ["confirm"]) and not {"-h", "--help"} & set(sys.argv):
            _run()
        else:
            from tuner import cli

            cli.main()
    except KeyboardInterrupt:  # while all that is imported; later `cli` sees to it
        sys.stderr.write("tuner: interrupted\n")
        sys.exit(130)


def _leave_users_folder() -> None:
    """Import nothing from the current directory: its modules may be called as ours, or any.

    It is on the path by ``python -m``, or by PYTHONPATH.
    """
    folder = os.getcwd()
    sys.path[:] = [each for each in sys.path if each and each != folder]
    sys.path.append(str(ROOT))
    for name in ("storage", "objectives"):
        claim(name)


def _run() -> None:
    """Let torch be imported by another process while this one imports the command line."""
    from tuner.workers import nursery

    given = [*sys.argv, "--objective"]  # elsewhere it is said too late
    named = given[given.index("--objective") + 1 :]
    nursery.preload(named[0] if named and ":" in named[0] else None)
    with nursery.abandoning():
        from tuner import cli

        cli.main()


if __name__ == "__main__":
    main()
