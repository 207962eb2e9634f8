"""Usage rows: cached tokens, the price, what the cost rests on, what was reserved; delivered over all tenants."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "ALTER TABLE usage_row"
        " ADD COLUMN cache_read_tokens bigint NOT NULL DEFAULT 0,"
        " ADD COLUMN cache_write_tokens bigint NOT NULL DEFAULT 0,"
        " ADD COLUMN cache_write_1h_tokens bigint NOT NULL DEFAULT 0,"
        " ADD COLUMN price_version text NOT NULL DEFAULT '',"
        " ADD COLUMN price text NOT NULL DEFAULT '',"
        " ADD COLUMN cost_basis text NOT NULL DEFAULT 'counted' CHECK (cost_basis IN ('counted', 'bound')),"
        " ADD COLUMN reserved_usd_micros bigint NOT NULL DEFAULT 0,"
        " ADD COLUMN uncertain_usd_micros bigint NOT NULL DEFAULT 0,"
        " ADD COLUMN over_bound boolean NOT NULL DEFAULT false,"
        " ADD COLUMN provider_request_id text,"
        " ADD COLUMN charged_tokens bigint NOT NULL DEFAULT 0,"
        " DROP CONSTRAINT usage_row_status_check,"
        " ADD CONSTRAINT usage_row_status_check"
        " CHECK (status IN ('ok', 'error', 'cancelled', 'unknown', 'lost')),"
        # A request is counted once whoever it belongs to: a replayed journal meets its own rows.
        " DROP CONSTRAINT usage_row_pkey,"
        " ADD PRIMARY KEY (id)"
    )
    # A batch of the journal goes over tenants. Nobody may change a row; none is removed but that of a lease which was
    # taken for lost and was not.
    op.execute("CREATE POLICY platform ON usage_row TO slipway_platform USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT, INSERT, DELETE ON usage_row TO slipway_platform")
    op.execute(
        "CREATE POLICY lost_only ON usage_row AS RESTRICTIVE FOR DELETE TO slipway_platform USING (status = 'lost')"
    )
    # Reports over all tenants by time.
    op.execute("CREATE INDEX usage_row_by_day ON usage_row USING brin (at)")
