"""Names of parameters and attributes."""

import optuna

from tests.compatibility.objectives import note


def by_case(trial: optuna.Trial) -> float:
    """Parameters and attributes whose names differ by case."""
    for number, name in enumerate(["C", "c", "Acc", "ACC"]):
        trial.suggest_float(name, number, number + 0.5)
        trial.set_user_attr(f"{name} seen", number)
        trial.set_user_attr(f"{name.lower()} seen", number)
    return float(trial.params["C"])


def by_accent(trial: optuna.Trial) -> float:
    """Names that differ by an accent, or by how it is encoded."""
    for number, name in enumerate(["naive", "naïve", "nai\u0308ve", "straße", "strasse"]):
        trial.suggest_int(name, number * 10, number * 10 + 5)
        trial.set_user_attr(name, number)
    return float(trial.params["naïve"])


def by_blank(trial: optuna.Trial) -> float:
    """Names that differ by blanks at the end, before, or within."""
    for number, name in enumerate(["x", "x ", " x", "x\t", "x\u00a0", "x y", "x  y"]):
        trial.suggest_float(name, number, number + 0.5)
        trial.set_user_attr(name, number)
    return float(trial.params["x "])


def by_width(trial: optuna.Trial) -> float:
    """Names that differ by full width, ligatures and signs that a sort order passes over."""
    for number, name in enumerate(
        ["x1", "\uff58\uff11", "x\u00b9", "fi", "\ufb01", "x\u200b", "a\u00adb", "ab"]
    ):
        trial.suggest_int(name, number * 10, number * 10 + 5)
        trial.set_user_attr(name, number)
    return float(trial.number)


def by_emoji(trial: optuna.Trial) -> float:
    """Names beyond the first 65,536 letters, which a sort order may take for one another."""
    for number, name in enumerate(["🍎", "🍐", "\U0001d499", "\U0001d49a", "λ", "Λ"]):
        trial.suggest_int(name, number * 10, number * 10 + 5)
        trial.set_user_attr(name, number)
    return float(trial.params["🍎"])


def odd(trial: optuna.Trial) -> float:
    """Empty names, and names of quotes, dots, slashes, percent signs and line ends."""
    odd = [
        "",
        "a.b",
        "a/b",
        "100%",
        "%s",
        ":x",
        "it's",
        '"q"',
        "`b`",
        "\\",
        "a\nb",
        "[0]",
        "a=b&c",
        "*",
    ]
    for number, name in enumerate(odd):
        trial.suggest_float(name, number, number + 0.5)
        trial.set_user_attr(name, number)
    return float(trial.number)


def longest(trial: optuna.Trial) -> float:
    """Names of 512 letters, the longest that Optuna's columns take."""
    trial.set_user_attr("k" * 512, 1)
    return trial.suggest_float("p" * 512, 0, 1)


def too_long_parameter(trial: optuna.Trial) -> float:
    """A parameter's name of 600 letters."""
    if trial.number:
        return float(trial.number)
    return trial.suggest_float("p" * 600, 0, 1)


def too_long_attribute(trial: optuna.Trial) -> float:
    """An attribute's name of 600 letters."""
    if trial.number == 0:
        trial.set_user_attr("k" * 600, 1)
    return float(trial.number)


def nul(trial: optuna.Trial) -> float:
    """A name with a NUL."""
    if trial.number == 0:
        trial.set_user_attr("a\0b", 1)
    return float(trial.number)


def half_a_letter(trial: optuna.Trial) -> float:
    """A name with half a letter (a lone surrogate)."""
    if trial.number == 0:
        trial.suggest_float("x\ud800", 0, 1)
    return float(trial.number)


def like_ours(trial: optuna.Trial) -> float:
    """Attributes and parameters by names that this project or Optuna uses itself."""
    for name in ("worker", "error", "resumed", "first_pass", "training_loss", "fixed_params"):
        trial.set_user_attr(name, f"mine: {name}")
    note(trial, seen=trial.user_attrs["worker"])
    trial.suggest_float("number", 0, 1)
    return trial.suggest_float("weight_decay", 0.5, 1)
