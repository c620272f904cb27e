"""Faults on real workers and a real database, and whether the study survived them all."""
