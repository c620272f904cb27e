"""Version 3: what was exported is recorded, and `tuner_best` shows the last of it."""

import sqlalchemy as sa
from alembic import op

from storage import views

revision = "3"
down_revision = "2"

_metadata = sa.MetaData()
_budgets = sa.Table("tuner_budgets", _metadata, sa.Column("study_id", sa.Integer, primary_key=True))
_exports = sa.Table(
    "tuner_exports",
    _metadata,
    sa.Column("export_id", sa.Integer, primary_key=True),
    sa.Column(
        "study_id", sa.ForeignKey("tuner_budgets.study_id", ondelete="CASCADE"), nullable=False
    ),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("rule", sa.String(16), nullable=False),
    sa.Column("weight_decay", sa.Double),
    sa.Column("lr", sa.Double),
    sa.Column("value", sa.Double),
    sa.Column("mean", sa.Double),
    sa.Column("standard_error", sa.Double),
    sa.Column("trial", sa.Integer),
    sa.Column("pinned_trial", sa.Integer),
    sa.Column("reason", sa.String(1000), nullable=False),
    sa.Column("exported_by", sa.String(255), nullable=False),
    sa.Column("exported_at", sa.Double, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Index("ix_tuner_exports_study_id_version", "study_id", "version", unique=True),
)


def upgrade() -> None:
    """Create the table where it is not there, and the views."""
    connection = op.get_bind()
    _exports.create(connection, checkfirst=True)
    for index in _exports.indexes:
        index.create(connection, checkfirst=True)
    views.create_views(connection)
