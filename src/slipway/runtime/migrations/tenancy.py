"""What makes a table a tenant's: forced row-level security, one policy for the tenant and one for the platform.

Every migration that creates a table with tenant data calls `tenant_table`; a fitness test fails on a table that has a
`tenant_id` and no forced policy.
"""

from alembic import op


def tenant_table(table: str, *, app: str = "SELECT, INSERT, UPDATE, DELETE", platform: str | None = None) -> None:
    """Isolates `table` by its `tenant_id`.

    The application role sees the rows of the tenant set for its transaction (none when none is set). The platform role
    gets `platform` privileges over every tenant's rows, or nothing when left out.
    """
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY tenant ON {table} TO slipway_app "
        "USING (tenant_id = (SELECT current_setting('slipway.tenant', true))) "
        "WITH CHECK (tenant_id = (SELECT current_setting('slipway.tenant', true)))"
    )
    op.execute(f"GRANT {app} ON {table} TO slipway_app")
    if platform is not None:
        op.execute(f"CREATE POLICY platform ON {table} TO slipway_platform USING (true) WITH CHECK (true)")
        op.execute(f"GRANT {platform} ON {table} TO slipway_platform")


def platform_table(table: str, *, app: str | None = None, platform: str = "SELECT, INSERT, UPDATE, DELETE") -> None:
    """Grants on a table that belongs to no tenant."""
    op.execute(f"GRANT {platform} ON {table} TO slipway_platform")
    if app is not None:
        op.execute(f"GRANT {app} ON {table} TO slipway_app")
