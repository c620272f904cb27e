"""Version 5: studies have a priority, for workers that serve all of them, and say how old they are.

Adds what is missing, so that it can be repeated where a statement commits.
"""

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"


def upgrade() -> None:
    """Add the columns where they are not there."""
    present = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("tuner_budgets")}
    for column in (
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created_at", sa.Double),
    ):
        if column.name not in present:
            op.add_column("tuner_budgets", column)
