"""Version 8: `tuner_best` leaves out trials that other programs put into a study."""

from alembic import op

from storage import views

revision = "8"
down_revision = "7"


def upgrade() -> None:
    """Make the views anew."""
    views.create_views(op.get_bind())
