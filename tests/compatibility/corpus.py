"""The corpus: each objective with its study. Differences stand in ``tests.compatibility.table``."""

import math

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from tests.compatibility import table
from tests.compatibility.case import Case, enqueued

_EACH_KIND = {
    "x": FloatDistribution(0, 1),
    "n": IntDistribution(1, 8),
    "c": CategoricalDistribution(["a", "b"]),
}
_PARAMS = {"x": 0.5, "n": 3, "c": "a"}


def _cases(module: str, functions: str, n_trials: int = 2) -> list[Case]:
    return [Case(f"{module}:{name}", n_trials) for name in functions.split()]


def _of_each_kind(variant: str, *added: optuna.trial.FrozenTrial, n_trials: int = 1) -> Case:
    return Case("parameters:of_each_kind", n_trials, variant, added=added)


_IMPORTED = (
    optuna.create_trial(params=_PARAMS, distributions=_EACH_KIND, value=99.0),
    optuna.create_trial(
        state=TrialState.PRUNED,
        params=_PARAMS,
        distributions=_EACH_KIND,
        intermediate_values={1: 0.5, 4: math.nan},
    ),
    optuna.create_trial(state=TrialState.FAIL, user_attrs={"from": "elsewhere"}),
)

PARAMETERS = [
    *_cases(
        "parameters",
        "floats float_steps ints int_steps longest_ints single_values numpy_bounds old_names "
        "nothing moving_range same_again same_as_another_kind kind_of_the_day impossible_ranges "
        "upside_down infinite_range too_long_int proportions permutation",
    ),
    *_cases("parameters", "conditional", 4),
    *_cases("parameters", "many", 1),
]

GIVEN = [
    _of_each_kind("enqueued", enqueued(**_PARAMS), n_trials=2),
    _of_each_kind("enqueued in part", enqueued(n=8), enqueued(), n_trials=3),
    _of_each_kind("enqueued with attributes", enqueued({"by": ["me", 1]}, **_PARAMS)),
    _of_each_kind("enqueued with names that nobody asks for", enqueued(x=0.5, unknown=1)),
    _of_each_kind("floats enqueued for an integer", enqueued(n=3.0), enqueued(n=2.7), n_trials=2),
    _of_each_kind("truth values enqueued", enqueued(x=True, n=False), enqueued(c=True), n_trials=2),
    _of_each_kind("enqueued out of range", enqueued(x=7, n=99), enqueued(x=-1), n_trials=2),
    _of_each_kind("a choice enqueued that there is not", enqueued(c="z"), n_trials=2),
    _of_each_kind("text enqueued", enqueued(x="0.5"), enqueued(n="3"), enqueued(x="a"), n_trials=4),
    _of_each_kind("nothing enqueued", enqueued(x=None), enqueued(c=None), n_trials=3),
    _of_each_kind("NaN enqueued", enqueued(x=math.nan), enqueued(n=math.nan), n_trials=3),
    _of_each_kind("infinity enqueued", enqueued(x=math.inf), enqueued(x=-math.inf), n_trials=3),
    Case(
        "parameters:of_each_kind",
        2,
        "infinity enqueued for an integer",
        added=(enqueued(n=math.inf),),
        differs=table.INFINITE_INTEGER,
    ),
    _of_each_kind("lists enqueued", enqueued(x=[0.5]), enqueued(c=["a"]), n_trials=3),
    _of_each_kind("imported", *_IMPORTED, n_trials=2),
    Case(
        "parameters:of_each_kind",
        2,
        "imported trials of another kind",
        added=(
            optuna.create_trial(
                params={"x": 3}, distributions={"x": IntDistribution(1, 8)}, value=99.0
            ),
        ),
        differs=table.OTHER_KIND,
    ),
    Case(
        "parameters:of_each_kind",
        1,
        "an imported trial that is better",
        added=(optuna.create_trial(params=_PARAMS, distributions=_EACH_KIND, value=-1.0),),
        differs=table.IMPORTED_BEST,
    ),
    Case("parameters:strength", 3, "zero", added=(enqueued(weight_decay=0.0),)),
    Case(
        "parameters:strength",
        3,
        "text and below zero",
        added=(enqueued(weight_decay="1e-4"), enqueued(weight_decay=-1e-3)),
    ),
]

CHOICES = [
    *_cases(
        "choices",
        "plain twice not_finite nested letters string_enum hundreds same_object",
    ),
    *_cases(
        "choices",
        "alike kilobytes another_list none_at_all of_enum of_classes of_bytes of_numpy "
        "of_numpy_floats of_arrays",
    ),
    Case("choices:of_sets", differs=table.NOT_STORABLE),
]

NAMES = _cases(
    "names",
    "by_case by_accent by_blank by_width by_emoji odd longest too_long_parameter "
    "too_long_attribute nul half_a_letter like_ours",
)

ATTRIBUTES = [
    *_cases(
        "attributes",
        "plain not_finite as_json_turns_them again changed_later history too_long "
        "too_long_but_caught too_long_letters of_array of_numpy_scalar of_tensor of_other_things "
        "of_itself",
    ),
    *_cases("attributes", "many", 1),
]

RETURNS = [
    *_cases("returns", "numbers", 14),
    *_cases("returns", "sequences", 7),
    *_cases("returns", "not_numbers", 9),  # ten in a row would stop a study
    *_cases("returns", "array_of_one the_trial megabytes"),
    *_cases("returns", "not_finite tensors", 6),
    Case("returns:not_finite", 6, "upwards", direction="maximize"),
    Case("returns:ties", differs=table.TIES),
    Case("returns:texts", 4, differs=table.TEXTS),
    Case("returns:too_large", differs=table.TOO_LARGE),
    Case("returns:no_number", differs=table.NO_NUMBER),
]

REPORTS = [
    *_cases(
        "reports",
        "steps long_steps too_long_step longest_step values not_values same_step asks_before",
    ),
    *_cases("reports", "many", 1),
    *_cases("reports", "prunes", 5),
    *_cases("reports", "constrained constraints_that_cannot_be nobody_keeps_them"),
    Case("reports:pruned_by_median", 8, pruner="median"),
    Case("reports:pruned_by_halving", 6, pruner="asha"),
    Case("reports:learned_by_tpe", 12, sampler="tpe"),
]

ENDINGS = [
    *_cases("endings", "errors", 8),
    *_cases("endings", "warned", 4),
    *_cases("endings", "optunas_own", 3),
    *_cases("endings", "finished_by_others swallowed"),
    Case("endings:without_words", differs=table.WITHOUT_WORDS),
    Case("endings:leaves", 4, differs=table.LEAVES),
    Case("endings:interrupts", differs=table.INTERRUPTS),
    Case("endings:cancelled", 3, differs=table.CANCELLED),
    Case("endings:exits_at_once", differs=table.EXITS_AT_ONCE),
    Case("endings:killed", differs=table.KILLED),
    Case("endings:aborts", differs=table.ABORTS),
]

SHAPES = [
    Case("shapes:instance", variant="an object that can be called"),
    Case("shapes:partial", variant="a function with some of its arguments filled in"),
    Case("shapes:short", variant="a lambda"),
    *_cases("shapes", "method decorated"),
    Case("shapes:generator", differs=table.GENERATOR),
    *_cases("shapes", "Built remembers"),
    *_cases("shapes", "prints closes_its_output reads_input"),
    Case("shapes:changes_directory", differs=table.DIRECTORY),
    Case("shapes:changes_environment", differs=table.ENVIRONMENT),
]

STUDIES = [
    Case("studies:has_attributes_already", 1, differs=table.WORKER),
    *_cases("studies", "itself is_a_trial writes_to_its_study enqueues adds"),
    Case("studies:reads_a_table", differs=table.STAND_IN),
    *_cases("studies", "study_within with_fixed_trials stores_an_artifact"),
    *_cases("studies", "reads_its_study skips_duplicates", 4),
    Case("studies:reads_its_study", 3, "with imported trials", added=_IMPORTED),
    *_cases("studies", "stops stops_and_fails", 4),
]

ELSEWHERE = [
    *_cases("elsewhere", "in_thread in_threads by_joblib_threads copied"),
    *_cases("elsewhere", "pickled spawned in_process_pool by_joblib workers_of_its_own forked", 1),
]

THEMES = {
    "parameters": PARAMETERS,
    "enqueued and imported trials": GIVEN,
    "choices": CHOICES,
    "names": NAMES,
    "attributes": ATTRIBUTES,
    "returns": RETURNS,
    "reports": REPORTS,
    "endings": ENDINGS,
    "shapes": SHAPES,
    "studies": STUDIES,
    "elsewhere": ELSEWHERE,
}
