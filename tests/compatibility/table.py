"""What is not as under Optuna, and why: the rows of the table in docs/as-optuna-does.md."""

from tests.compatibility.case import Difference

_ENDS_ITSELF = "One trial's code never decides over the others: its trial ends, the study goes on."

IMPORTED_BEST = Difference(
    what="The best trial of the study was imported",
    optuna="It is the study's best trial.",
    here="It teaches the sampler; the best trial is one that was trained here.",
    why="Nobody can train it again, confirm it, or say how it was measured.",
    states="CC",
    best=1,
)
OTHER_KIND = Difference(
    what="Imported trials have another kind of distribution for the same parameter",
    optuna="Every trial fails: another kind cannot be set for the same name.",
    here="They are left aside, and the study goes on.",
    why="What another program has put into a study does not end it.",
    states="CCC",
    best=2,
)
NOT_STORABLE = Difference(
    what="A choice cannot be stored as JSON",
    optuna="The trial fails after its sampler has drawn.",
    here="It fails before, so that later trials draw other values.",
    why="What is asked of the sampler crosses to another process.",
    states="FF",
    best=None,
)
STAND_IN = Difference(
    what="An objective looks at `trial.study.pruner` or `sampler`",
    optuna="They are those of the study.",
    here="They are stand-ins that ask the coordinator.",
    why="The process that runs an objective knows no database, which they read.",
    states="CC",
    best=0,
)
GENERATOR = Difference(
    what="The objective is a generator function",
    optuna="Optuna does not run it: the trial fails.",
    here="Each number that it yields is reported, pruning closes it, the last is the value.",
    why="A training loop becomes an objective by one word.",
    states="CC",
    best=0,
)
TIES = Difference(
    what="Several trials have the best value",
    optuna="The database returns one of them.",
    here="The one with the fewest reports, then the lowest number.",
    why="The answer shall be the same each time it is asked for.",
    states="CC",
    best=1,
    is_certain=False,
)
TEXTS = Difference(
    what='A text is returned that is a number (`"0.5"`)',
    optuna="`optimize` ends with a TypeError; the trial stays RUNNING.",
    here="It is taken as that number; NaN is FAIL.",
    why=_ENDS_ITSELF,
    states="CCFC",
    best=1,
)
INFINITE_INTEGER = Difference(
    what="Infinity is enqueued for an integer",
    optuna="The study cannot be read any more (OverflowError).",
    here="The trial is FAIL with the attribute `error`.",
    why="A trial never costs its study.",
    states="FC",
    best=1,
    databases=("sqlite", "postgresql"),
)
WORKER = Difference(
    what="A trial reads its user attributes when it begins",
    optuna="There are none.",
    here="`worker` may be there: who trains it.",
    why="It is shown with the trial, in the dashboard too.",
    states="C",
    best=0,
    is_certain=False,
)
TOO_LARGE = Difference(
    what="An integer is returned that no float can be (`10**400`)",
    optuna="`optimize` ends with an OverflowError; the trial stays RUNNING.",
    here="The trial is FAIL with the attribute `error`.",
    why=_ENDS_ITSELF,
    states="FC",
    best=1,
)
NO_NUMBER = Difference(
    what="Something is returned whose conversion to a float raises another error than usual",
    optuna="`optimize` ends with that error; the trial stays RUNNING.",
    here="The trial is FAIL with the attribute `error`.",
    why=_ENDS_ITSELF,
    states="FC",
    best=1,
)
WITHOUT_WORDS = Difference(
    what="An error is raised whose text raises",
    optuna="`optimize` ends with that second error.",
    here="The trial is FAIL; `error` names the class.",
    why=_ENDS_ITSELF,
    states="FC",
    best=1,
)
LEAVES = Difference(
    what="`sys.exit` is called, by argparse for instance",
    optuna="The process ends; the trial stays RUNNING.",
    here="The trial is FAIL with the attribute `error`.",
    why=_ENDS_ITSELF,
    states="FFFC",
    best=3,
)
INTERRUPTS = Difference(
    what="The objective raises KeyboardInterrupt itself",
    optuna="The trial is FAIL and `optimize` ends.",
    here="The trial is FAIL, the study goes on.",
    why="Ctrl-C is heard by the coordinator; what code raises is that code's affair.",
    states="FC",
    best=1,
)
CANCELLED = Difference(
    what="Another error is raised that is no `Exception` (`CancelledError`, `GeneratorExit`)",
    optuna="`optimize` ends; the trial stays RUNNING.",
    here="The trial is FAIL with the attribute `error`.",
    why=_ENDS_ITSELF,
    states="FFC",
    best=2,
)
EXITS_AT_ONCE = Difference(
    what="`os._exit` is called",
    optuna="The process is gone; the trial stays RUNNING.",
    here="The trial is run again `--max-retries` times, then FAIL with the reason.",
    why=_ENDS_ITSELF,
    states="FC",
    best=1,
)
KILLED = Difference(
    what="The process is killed, by the kernel for instance",
    optuna="The process is gone; the trial stays RUNNING.",
    here="The trial is run again `--max-retries` times, then FAIL with the reason.",
    why=_ENDS_ITSELF,
    states="FC",
    best=1,
)
ABORTS = Difference(
    what="A library ends in a segmentation fault",
    optuna="The process is gone; the trial stays RUNNING.",
    here="The trial is run again `--max-retries` times, then FAIL with the reason.",
    why=_ENDS_ITSELF,
    states="FC",
    best=1,
)
DIRECTORY = Difference(
    what="A trial leaves another current directory behind",
    optuna="The next trial starts there.",
    here="Each trial starts where the command was started.",
    why="Nothing leaks from trial to trial.",
    states="CC",
    best=0,
)
ENVIRONMENT = Difference(
    what="A trial changes the environment or `sys.argv`",
    optuna="The next trial sees it.",
    here="Each trial starts with those of the command.",
    why="Nothing leaks from trial to trial.",
    states="CC",
    best=0,
)
