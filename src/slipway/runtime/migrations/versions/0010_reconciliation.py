"""What is booked without knowing: whose leases hold it, how it is put right once known, and lost leases until their
row is written (ADR 13).

A usage row may change once, from `unknown` or `lost` to `reconciled`; what it was stays in `usage_correction`.
"""

from alembic import op

from slipway.runtime.migrations.tenancy import tenant_table

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "ALTER TABLE usage_row"
        " ADD COLUMN booking jsonb,"
        " DROP CONSTRAINT usage_row_status_check,"
        " ADD CONSTRAINT usage_row_status_check"
        " CHECK (status IN ('ok', 'error', 'cancelled', 'unknown', 'lost', 'reconciled'))"
    )
    op.execute(
        "GRANT UPDATE (status, prompt_tokens, completion_tokens, cache_read_tokens, cache_write_tokens,"
        " cache_write_1h_tokens, tokens_estimated, cost_usd_micros, cost_basis, charged_tokens, uncertain_usd_micros,"
        " over_bound) ON usage_row TO slipway_platform"
    )
    op.execute(
        "CREATE POLICY uncertain_only ON usage_row AS RESTRICTIVE FOR UPDATE TO slipway_platform"
        " USING (status IN ('unknown', 'lost')) WITH CHECK (status = 'reconciled')"
    )
    # Also once it was reconciled the row of a lease that turns up after all is wrong.
    op.execute("DROP POLICY lost_only ON usage_row")
    op.execute(
        "CREATE POLICY lost_only ON usage_row AS RESTRICTIVE FOR DELETE TO slipway_platform"
        " USING (status = 'lost' OR id LIKE 'lost\\_%')"
    )
    # Who put which row right, when, and what it said before. `settled`: what it gives back has reached the leases.
    op.execute(
        "CREATE TABLE usage_correction ("
        " tenant_id text NOT NULL,"
        " request_id text NOT NULL PRIMARY KEY,"
        " at timestamptz NOT NULL DEFAULT now(),"
        " by_tenant_id text NOT NULL,"
        " by_subject text NOT NULL,"
        " by_key_id text,"
        " before jsonb NOT NULL,"
        " after jsonb NOT NULL,"
        " booking jsonb,"
        " settled boolean NOT NULL DEFAULT false)"
    )
    op.execute("CREATE INDEX usage_correction_pending ON usage_correction (at) WHERE NOT settled")
    tenant_table("usage_correction", app="SELECT", platform="SELECT, INSERT")
    op.execute("GRANT UPDATE (settled) ON usage_correction TO slipway_platform")
    # Which leases have been corrected for which row, so that each is once.
    op.execute(
        "CREATE TABLE lease_correction ("
        " tenant_id text NOT NULL,"
        " account_key text NOT NULL,"
        " request_id text NOT NULL,"
        " PRIMARY KEY (tenant_id, account_key, request_id))"
    )
    tenant_table("lease_correction", app="SELECT, INSERT")
    # The rest of a lost lease until its usage row is written.
    op.execute("ALTER TABLE lease ADD COLUMN unbooked bigint NOT NULL DEFAULT 0")
    # A lost lease that was corrected is smaller than what its holder holds, should it come back: that counts in full.
    op.execute(
        "DO $$ BEGIN EXECUTE replace(pg_get_functiondef('lease_sync'::regproc), 'least(o_granted, p_keep)',"
        " 'CASE v_lease.state WHEN ''lost'' THEN p_keep ELSE least(o_granted, p_keep) END'); END $$"
    )
    op.execute("CREATE INDEX lease_unbooked ON lease (tenant_id, account_key, holder) WHERE unbooked > 0")
