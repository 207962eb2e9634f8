"""Schema migrations: one chain for the whole platform, applied under a lock before anything serves.

`migrate(url)` is safe when many processes start at once: the first holds an advisory lock, the others wait and find
nothing left to do. Each revision runs in one transaction with the rest of its run; a failure leaves the old schema and
stops the start.
"""

import re
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from slipway.base.errors import Misconfigured, SlipwayError, Unavailable

_LOCK_KEY: Final = 0x51195A9  # arbitrary; any two processes of one platform must agree


def migrate(owner_url: str, *, target: str = "head") -> list[str]:
    """Brings the schema to `target` and returns the revisions it applied, oldest first.

    Raises Unavailable when the server does not answer, Misconfigured when a migration fails or the database is newer
    than this code.
    """
    engine = _engine(owner_url)
    config = _config()
    try:
        with engine.connect() as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            before = _current(connection)
            _refuse_newer(before, ScriptDirectory.from_config(config))
            config.attributes["connection"] = connection
            command.upgrade(config, target)
            after = _current(connection)
    except OperationalError as error:
        raise Unavailable("The database does not answer, so it could not be migrated.", detail=str(error)) from error
    except SlipwayError:
        raise
    except Exception as error:  # a revision may raise anything; whatever it is, its transaction was rolled back
        raise Misconfigured(
            f"A database migration failed and nothing was changed: {_first_line(error)}", detail=str(error)
        ) from error
    finally:
        engine.dispose()
    return _between(before, after)


def require_current(url: str) -> None:
    """For who may not migrate: raises Unavailable until somebody has. A newer schema is no hindrance: a version that
    is being replaced goes on while the next one has migrated."""
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SET ROLE slipway_app"))
            current = _current(connection)
    except SQLAlchemyError as error:
        raise Unavailable(
            "The database has no schema yet, or does not answer: the part that migrates it comes first.",
            detail=str(error),
        ) from error
    finally:
        engine.dispose()
    script = ScriptDirectory.from_config(_config())
    known = [revision.revision for revision in script.walk_revisions()]
    if current is None or (current in known and current != script.get_current_head()):
        raise Unavailable("The database's schema is older than this Slipway: the part that migrates it comes first.")


def _engine(url: str) -> Engine:
    if not re.match(r"postgres(ql)?://", url):
        raise Misconfigured("The database's address must begin with postgresql:// (SLIPWAY_DATABASE_URL).")
    try:
        return create_engine(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url), poolclass=NullPool)
    except (SQLAlchemyError, ValueError) as error:
        # The message may quote the URL, and with it a password.
        raise Misconfigured("The database's address is not a URL (SLIPWAY_DATABASE_URL).") from error


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _current(connection: object) -> str | None:
    from alembic.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()  # type: ignore[arg-type]


def _refuse_newer(current: str | None, script: ScriptDirectory) -> None:
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        raise Misconfigured(
            f"The database is newer than this Slipway: its schema is {current}, and this version knows "
            f"{script.get_current_head()} at most. Start the version that wrote it, or a later one."
        )


def _between(before: str | None, after: str | None) -> list[str]:
    if before == after:
        return []
    script = ScriptDirectory.from_config(_config())
    revisions = script.iterate_revisions(after or "base", before or "base")
    return [revision.revision for revision in revisions][::-1]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
