"""Version 1: the tables as release 0.1.0 made them, without a version.

Creates what is missing, so that 0.1.0's tables pass through unchanged.
"""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None

_metadata = sa.MetaData()
_studies = sa.Table("studies", _metadata, sa.Column("study_id", sa.Integer, primary_key=True))


def _reference(column: str) -> sa.ForeignKey:
    return sa.ForeignKey(column, ondelete="CASCADE")


_own_tables = [
    sa.Table(
        "tuner_budgets",
        _metadata,
        sa.Column(
            "study_id", _reference("studies.study_id"), primary_key=True, autoincrement=False
        ),
        sa.Column("n_trials", sa.Integer, nullable=False),
        sa.Column("n_claimed", sa.Integer, nullable=False),
        sa.Column("deadline", sa.Double),
    ),
    sa.Table(
        "tuner_workers",
        _metadata,
        sa.Column("worker_id", sa.Integer, primary_key=True),
        sa.Column("study_id", _reference("tuner_budgets.study_id"), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.Column("left_at", sa.Double),
        sa.Index("ix_tuner_workers_study_id", "study_id"),
    ),
    sa.Table(
        "tuner_leases",
        _metadata,
        sa.Column("lease_id", sa.Integer, primary_key=True),
        sa.Column("study_id", _reference("tuner_budgets.study_id"), nullable=False),
        sa.Column("worker_id", _reference("tuner_workers.worker_id"), nullable=False),
        sa.Column("trial_id", sa.Integer),
        sa.Column("ends_at", sa.Double, nullable=False),
        sa.Index("ix_tuner_leases_study_id", "study_id"),
        sa.Index("ix_tuner_leases_worker_id", "worker_id"),
    ),
]


def upgrade() -> None:
    """Create each table and index that is not there."""
    connection = op.get_bind()
    for table in _own_tables:
        table.create(connection, checkfirst=True)
        for index in table.indexes:
            index.create(connection, checkfirst=True)
