"""Models of built-in problems: of inputs ``(batch, n_inputs)``, each with defaults of its own."""
