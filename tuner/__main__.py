"""The command ``tuner``, also as ``python -m tuner``.

Every worker process imports this module anew, as ``multiprocessing`` demands: so it is light.
"""

import sys


def main() -> None:
    """Run the command line; for `tuner run`, torch is imported meanwhile."""
    try:
        if sys.argv[1:2] == ["run"] and not {"-h", "--help"} & set(sys.argv):
            from tuner import processes

            processes.preload()
        from tuner import cli
    except KeyboardInterrupt:  # while all that is imported; later `cli` sees to it
        sys.stderr.write("tuner: interrupted\n")
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
