"""What processes count about themselves, as Prometheus reads it; only `tuner` knows of it."""
