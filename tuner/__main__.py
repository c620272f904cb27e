"""The command ``tuner``, also as ``python -m tuner``.

It is light: what trainers import is begun before what the command itself imports.
"""

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    """Run the command line."""
    _claim_names()
    try:
        if sys.argv[1:2] in (["run"], ["confirm"]) and not {"-h", "--help"} & set(sys.argv):
            _run()
        else:
            from tuner import cli

            cli.main()
    except KeyboardInterrupt:  # while all that is imported; later `cli` sees to it
        sys.stderr.write("tuner: interrupted\n")
        sys.exit(130)


def _claim_names() -> None:
    """Let `storage` and `objectives` be ours, whatever is called so in somebody's folder.

    A current directory on the path (PYTHONPATH, ``python -m``) may come before our packages.
    """
    root = Path(__file__).resolve().parent.parent
    for name in ("storage", "objectives"):
        file = root / name / "__init__.py"
        found = importlib.util.find_spec(name)  # finds, and imports nothing
        if found is not None and found.origin == str(file):
            continue
        spec = importlib.util.spec_from_file_location(
            name, file, submodule_search_locations=[str(file.parent)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


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
