"""On whose behalf work goes on after its request: the columns `acting_*` of a row, and the Caller made of them again.

Rows that outlive a request (workflows, uploads) hold them; a table that does has exactly these four beside `tenant_id`.
"""

from collections.abc import Mapping
from typing import Any, Final

from slipway.base.callers import Caller, Role, known_scopes

ACTING: Final = "acting_subject, acting_role, acting_scopes, acting_key_id"
ACTING_VALUES: Final = "%(acting_subject)s, %(acting_role)s, %(acting_scopes)s, %(acting_key_id)s"


def acting_values(caller: Caller) -> dict[str, Any]:
    """The parameters of `ACTING_VALUES`."""
    return {
        "acting_subject": caller.subject,
        "acting_role": caller.role.value,
        "acting_scopes": sorted(caller.scopes),
        "acting_key_id": caller.key_id,
    }


def acting_caller(row: Mapping[str, Any]) -> Caller:
    """The caller that a row was written for."""
    return Caller(
        tenant_id=row["tenant_id"],
        subject=row["acting_subject"],
        scopes=known_scopes(row["acting_scopes"]),
        role=Role(row["acting_role"]),
        key_id=row["acting_key_id"],
    )
