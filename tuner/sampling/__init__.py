"""Optuna's TPE sampler and median pruner, with the same answers, for long studies."""
