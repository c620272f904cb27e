"""The command ``tuner``, also as ``python -m tuner``.

Every worker process imports this module anew, as ``multiprocessing`` demands: so it is light.
"""

import sys


def main() -> None:
    """Run the command line."""
    try:
        if sys.argv[1:2] in (["run"], ["confirm"]) and not {"-h", "--help"} & set(sys.argv):
            _run()
        else:
            from tuner import cli

            cli.main()
    except KeyboardInterrupt:  # while all that is imported; later `cli` sees to it
        sys.stderr.write("tuner: interrupted\n")
        sys.exit(130)


def _run() -> None:
    """Let torch be imported by another process while this one imports the command line."""
    from tuner import processes

    processes.preload()
    try:
        from tuner import cli

        cli.main()
    finally:
        processes.abandon()


if __name__ == "__main__":
    main()
