"""Budgets and the leases on them (ADR 13).

`lease_sync` and `lease_close` lock the budget first and its leases after it, so that calls for one account wait for
each other and never cross. The reaper locks leases alone and skips those that are locked.
"""

from alembic import op

from slipway.runtime.migrations.tenancy import tenant_table

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_SYNC = """
CREATE FUNCTION lease_sync(
  p_account text, p_unit text, p_limit bigint, p_resets_at timestamptz, p_holder text, p_seq bigint, p_spent bigint,
  p_keep bigint, p_need bigint, p_ask bigint, p_want bigint, p_ttl_s double precision,
  OUT o_granted bigint, OUT o_available bigint, OUT o_elsewhere bigint, OUT o_recalled boolean, OUT o_closed boolean,
  OUT o_lost integer
) LANGUAGE plpgsql AS $$
DECLARE
  v_tenant text := current_setting('slipway.tenant');
  v_budget budget;
  v_lease lease;
  v_taken bigint;
BEGIN
  SELECT * INTO v_budget FROM budget WHERE tenant_id = v_tenant AND account_key = p_account FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO budget (tenant_id, account_key, unit, amount_limit, resets_at)
    VALUES (v_tenant, p_account, p_unit, p_limit, p_resets_at) ON CONFLICT DO NOTHING;
    SELECT * INTO v_budget FROM budget WHERE tenant_id = v_tenant AND account_key = p_account FOR UPDATE;
  END IF;
  SELECT * INTO v_lease FROM lease
    WHERE tenant_id = v_tenant AND account_key = p_account AND holder = p_holder FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO lease (tenant_id, account_key, holder, expires_at)
    VALUES (v_tenant, p_account, p_holder, now()) RETURNING * INTO v_lease;
  END IF;

  o_elsewhere := 0;
  o_recalled := false;
  o_closed := v_lease.state = 'closed';
  o_granted := v_lease.granted;
  o_available := p_limit - v_budget.taken;
  o_lost := v_lease.lost;
  IF o_closed OR p_seq <= v_lease.seq THEN
    o_closed := true;
    RETURN;
  END IF;

  v_taken := v_budget.taken;
  IF v_lease.state = 'lost' THEN
    v_lease.spent := p_spent;
  ELSE
    v_lease.spent := greatest(v_lease.spent, p_spent);
  END IF;
  o_granted := greatest(v_lease.spent, least(o_granted, p_keep));
  v_taken := v_taken + o_granted - v_lease.granted;
  o_available := p_limit - v_taken;
  IF p_need > o_granted AND o_available < p_need - o_granted THEN
    SELECT coalesce(sum(granted - spent), 0) INTO o_elsewhere FROM lease
      WHERE tenant_id = v_tenant AND account_key = p_account AND holder <> p_holder AND state = 'open';
    UPDATE lease SET recalled = true
      WHERE tenant_id = v_tenant AND account_key = p_account AND holder <> p_holder
        AND state = 'open' AND granted > spent AND NOT recalled;
  ELSIF greatest(p_ask, p_want) > o_granted AND o_available > 0 THEN
    p_ask := greatest(o_granted, least(p_ask, o_granted + o_available));
    IF p_need > o_granted AND o_available < 100 * (p_need - o_granted) THEN
      p_want := p_ask;  -- near the limit only what is waited for
    END IF;
    p_want := least(p_want, p_ask + (o_available - (p_ask - o_granted)) / 8);
    v_taken := v_taken + greatest(p_ask, p_want) - o_granted;
    o_granted := greatest(p_ask, p_want);
    o_available := p_limit - v_taken;
  END IF;

  o_recalled := v_lease.recalled;
  UPDATE lease SET seq = p_seq, granted = o_granted, spent = v_lease.spent, recalled = false, state = 'open',
      expires_at = now() + make_interval(secs => p_ttl_s)
    WHERE tenant_id = v_tenant AND account_key = p_account AND holder = p_holder;
  IF v_taken <> v_budget.taken OR p_limit <> v_budget.amount_limit THEN
    UPDATE budget SET taken = v_taken, amount_limit = p_limit
      WHERE tenant_id = v_tenant AND account_key = p_account;
  END IF;
END $$
"""

_CLOSE = """
CREATE FUNCTION lease_close(
  p_account text, p_unit text, p_limit bigint, p_resets_at timestamptz, p_holder text, p_spent bigint,
  OUT o_lost integer
) LANGUAGE plpgsql AS $$
DECLARE
  v_tenant text := current_setting('slipway.tenant');
  v_lease lease;
BEGIN
  INSERT INTO budget (tenant_id, account_key, unit, amount_limit, resets_at)
    VALUES (v_tenant, p_account, p_unit, p_limit, p_resets_at) ON CONFLICT DO NOTHING;
  PERFORM 1 FROM budget WHERE tenant_id = v_tenant AND account_key = p_account FOR UPDATE;
  INSERT INTO lease (tenant_id, account_key, holder, expires_at)
    VALUES (v_tenant, p_account, p_holder, now()) ON CONFLICT DO NOTHING;
  SELECT * INTO v_lease FROM lease
    WHERE tenant_id = v_tenant AND account_key = p_account AND holder = p_holder FOR UPDATE;
  o_lost := v_lease.lost;
  IF v_lease.state = 'closed' THEN
    RETURN;
  END IF;
  IF v_lease.state = 'open' THEN
    p_spent := greatest(p_spent, v_lease.spent);
  END IF;
  UPDATE lease SET granted = p_spent, spent = p_spent, state = 'closed', recalled = false
    WHERE tenant_id = v_tenant AND account_key = p_account AND holder = p_holder;
  UPDATE budget SET taken = taken + p_spent - v_lease.granted
    WHERE tenant_id = v_tenant AND account_key = p_account;
END $$
"""


def upgrade() -> None:
    # No reference to the tenant: a budget that was used stays on record, as its usage rows do.
    op.execute(
        "CREATE TABLE budget ("
        " tenant_id text NOT NULL,"
        " account_key text NOT NULL,"
        " unit text NOT NULL CHECK (unit IN ('usd_micros', 'tokens')),"
        " amount_limit bigint NOT NULL,"
        " resets_at timestamptz NOT NULL,"
        " taken bigint NOT NULL DEFAULT 0 CHECK (taken >= 0),"
        " PRIMARY KEY (tenant_id, account_key))"
    )
    tenant_table("budget", app="SELECT, INSERT, UPDATE", platform="SELECT")
    op.execute(
        "CREATE TABLE lease ("
        " tenant_id text NOT NULL,"
        " account_key text NOT NULL,"
        " holder text NOT NULL,"
        " seq bigint NOT NULL DEFAULT 0,"
        " granted bigint NOT NULL DEFAULT 0,"
        " spent bigint NOT NULL DEFAULT 0 CHECK (spent >= 0 AND spent <= granted),"
        " recalled boolean NOT NULL DEFAULT false,"
        " state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'lost', 'closed')),"
        " lost integer NOT NULL DEFAULT 0,"
        " expires_at timestamptz NOT NULL,"
        " PRIMARY KEY (tenant_id, account_key, holder),"
        " FOREIGN KEY (tenant_id, account_key) REFERENCES budget)"
    )
    op.execute("CREATE INDEX lease_by_expiry ON lease (expires_at) WHERE state = 'open'")
    tenant_table("lease", app="SELECT, INSERT, UPDATE", platform="SELECT, UPDATE")
    op.execute(_SYNC)
    op.execute(_CLOSE)
