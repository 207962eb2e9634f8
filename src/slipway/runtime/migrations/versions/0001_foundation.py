"""Roles, the vector extension and the tenants that everything else refers to."""

from alembic import op

from slipway.runtime.migrations.tenancy import platform_table

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A role is made only when it is missing: an administrator may have made it, with a login of its own. Where we make it,
# the login that migrates is also let to become it, so that a single database URL can both migrate and serve.
# NOINHERIT: the application becomes the platform only by saying so, for one transaction.
_ROLE = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
    CREATE ROLE {role} NOLOGIN NOINHERIT;
    EXECUTE format('GRANT {role} TO %I', current_user);
  END IF;
END $$
"""


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.execute(_ROLE.format(role="slipway_app"))
    op.execute(_ROLE.format(role="slipway_platform"))
    op.execute("GRANT slipway_platform TO slipway_app")
    op.execute("GRANT USAGE ON SCHEMA public TO slipway_app, slipway_platform")
    op.execute(
        "CREATE TABLE tenant ("
        " id text PRIMARY KEY,"
        " name text NOT NULL,"
        " external_id text UNIQUE,"
        " created_at timestamptz NOT NULL DEFAULT now())"
    )
    platform_table("tenant")
    op.execute("ALTER TABLE tenant ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE tenant FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY tenant ON tenant FOR SELECT TO slipway_app "
        "USING (id = (SELECT current_setting('slipway.tenant', true)))"
    )
    op.execute("CREATE POLICY platform ON tenant TO slipway_platform USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT ON tenant TO slipway_app")
