"""Passwords in tests: kept by argon2id as elsewhere, at a hundredth of the cost of each sign-in."""

from argon2 import PasswordHasher

QUICK = PasswordHasher(time_cost=1, memory_cost=512, parallelism=1)
