"""Version 2: studies can be paused, trials retried; workers say their lease; leases their trial.

From here on a lease is bound to its trial when it is made. Its views are made anew by version 3.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"

_TRIAL_INDEX = "ix_tuner_leases_trial_id"

# A lease without a trial, or with one that a later lease has too, would break the new rule.
_SUPERFLUOUS = """
    trial_id IS NULL OR EXISTS (
        SELECT 1 FROM (SELECT lease_id, trial_id FROM tuner_leases) other
        WHERE other.trial_id = tuner_leases.trial_id AND other.lease_id > tuner_leases.lease_id
    )"""


def upgrade() -> None:
    """Add columns, end leases without a trial, make a trial's lease unique."""
    inspector = sa.inspect(op.get_bind())
    for table, columns in _new_columns().items():
        present = {column["name"] for column in inspector.get_columns(table)}
        for column in columns:
            if column.name not in present:
                op.add_column(table, column)
    _end_superfluous_leases()
    if _TRIAL_INDEX not in {index["name"] for index in inspector.get_indexes("tuner_leases")}:
        op.create_index(_TRIAL_INDEX, "tuner_leases", ["trial_id"], unique=True)


def _new_columns() -> dict[str, list[sa.Column[Any]]]:
    return {
        "tuner_budgets": [
            sa.Column("state", sa.String(16), nullable=False, server_default="open"),
            sa.Column("max_retries", sa.Integer, nullable=False, server_default="2"),
        ],
        "tuner_workers": [
            sa.Column("lease_seconds", sa.Double, nullable=False, server_default="60"),
            sa.Column("n_lanes", sa.Integer, nullable=False, server_default="1"),
        ],
    }


def _end_superfluous_leases() -> None:
    """Open the slots of leases that cannot stay; a worker that held one drops its trial."""
    op.execute(f"""
        UPDATE tuner_budgets SET n_claimed = n_claimed - (
            SELECT COUNT(*) FROM tuner_leases
            WHERE tuner_leases.study_id = tuner_budgets.study_id AND ({_SUPERFLUOUS})
        )""")
    op.execute(f"DELETE FROM tuner_leases WHERE {_SUPERFLUOUS}")
