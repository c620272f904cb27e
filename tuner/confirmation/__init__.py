"""Which λ fresh seeds confirm: candidates, training, arithmetic, verdict."""
