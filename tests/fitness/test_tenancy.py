"""Every table that holds a tenant's data is isolated by the database itself, whatever a query forgets."""

import psycopg
import pytest

from slipway.runtime.postgres import EmbeddedAddresses

# Tables that belong to no tenant, and why.
PLATFORM_TABLES = {"alembic_version": "the schema's own version", "signing_key": "keys of the platform's issuer"}


def rows(url: str, query: str) -> list[tuple]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.requirement("SEC-03", "R")
def test_every_table_forces_row_level_security(postgres: EmbeddedAddresses):
    tables = rows(
        postgres.owner_url,
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity, "
        "(SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')",
    )
    names = {name for name, _, _ in tables}
    assert {"tenant", "document", "chunk", "message", "api_key"} <= names
    open_tables = {name for name, forced, policies in tables if not forced or not policies}
    assert open_tables <= set(PLATFORM_TABLES), f"no forced row-level security on {open_tables - set(PLATFORM_TABLES)}"


def test_platform_tables_carry_no_tenant(postgres: EmbeddedAddresses):
    with_tenant = {
        name
        for (name,) in rows(
            postgres.owner_url,
            "SELECT table_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND column_name = 'tenant_id'",
        )
    }
    assert not with_tenant & set(PLATFORM_TABLES)


def test_without_a_tenant_no_row_of_any_table_is_seen(postgres: EmbeddedAddresses, new_caller):
    new_caller()  # so that there is a tenant to be seen
    with psycopg.connect(postgres.app_url) as connection:
        tables = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND has_table_privilege(c.oid, 'SELECT')"
        ).fetchall()
        assert tables
        for (table,) in tables:
            if table not in PLATFORM_TABLES:
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


def test_the_application_role_owns_nothing_and_bypasses_nothing(postgres: EmbeddedAddresses):
    ((superuser, bypasses, creates),) = rows(
        postgres.owner_url,
        "SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = 'slipway_app'",
    )
    assert (superuser, bypasses, creates) == (False, False, False)
    owned = rows(
        postgres.owner_url,
        "SELECT c.relname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = 'slipway_app'",
    )
    assert owned == []
