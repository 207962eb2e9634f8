"""Users, API keys, OAuth clients, signing keys."""

from alembic import op

from slipway.runtime.migrations.tenancy import platform_table, tenant_table

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
