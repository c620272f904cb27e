"""Whatever Optuna lets an objective do, it may do here: the same under both, compared."""
