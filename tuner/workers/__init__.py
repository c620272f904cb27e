"""Crews: one coordinator, which talks to the database, and the trainers that it starts."""
