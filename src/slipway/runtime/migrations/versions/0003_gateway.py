"""Usage rows of the gateway."""

from alembic import op

from slipway.runtime.migrations.tenancy import platform_table, tenant_table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
