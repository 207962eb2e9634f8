"""How far each store gets back, from what the manifest declares. The figures are counted, not hoped for.

Where AWS states no bound, the figure is our own count and says so; a restore drill (issue of operations)
measures them and these constants then follow the measurement.

- Aurora, point-in-time recovery: LatestRestorableTime is "typically within the last 5 minutes" (Aurora User
  Guide, Backing up and restoring an Aurora DB cluster): 5 m lost. A restore makes a new cluster and a new
  instance: counted as 1 h.
- Aurora global database (`copy_to_recovery_region`): storage-level copy, lag typically under a second
  (Aurora User Guide, Using Aurora Global Database); counted as 5 m, because the lag is alarmed on, not
  bounded. The secondary has no instance while idle: detach, promote and create one, counted as 30 m.
  Copies that AWS Backup makes of a continuous backup in another region are snapshots at the plan's interval,
  without point-in-time recovery (AWS Backup guide, Copying continuous backups), so they count as backups below.
- Neptune keeps continuous backups as Aurora does: the same figures when the store is lost.
- DynamoDB, point-in-time recovery: LatestRestorableDateTime is "typically five minutes before the current
  time" (Amazon DynamoDB, Point-in-time recovery): 5 m lost. A restore makes a new table: counted as 1 h. Global
  tables usually copy a change within a second (the same, Global tables); counted as 5 m, as Aurora's; the table
  is simply there.
- A service's EFS volume has the backups of AWS Backup alone. A host volume is lost with its instance and holds
  caches only, so it is left out, as Redis is.
- S3 versioning: an overwritten or deleted object is still there: nothing lost, 1 h counted for the work. S3
  Replication Time Control: 99.9 % of objects within 15 minutes by its service level agreement: 15 m lost;
  the bucket is simply there.
- AWS Backup: interval + 1 h start window (the `StartWindowMinutes` that our plans set) + 3 h counted until
  the copy is whole; a copy in the second region 4 h more. A restore of a managed store: 2 h counted.
- An index that is made from the documents (OpenSearch, Bedrock knowledge base) loses nothing that the
  documents do not; it is made again at 65 passages/s (embedding on 2 cores, measured 2026): 8 h for 1.9
  million passages.
- After the data, the platform: 30 m counted for services, DNS and checks, in each recovery time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from slipway.manifest.schema import Manifest
from slipway.manifest.sections.data import Objects, Postgres
from slipway.manifest.sections.recovery import Backups
from slipway.manifest.sections.tables import DynamoDB
from slipway.manifest.units import Duration

NOTHING: Final = Duration(0)
POINT_IN_TIME_RPO: Final = Duration.of(minutes=5)
POINT_IN_TIME_RTO: Final = Duration.of(hours=1)
GLOBAL_COPY_RPO: Final = Duration.of(minutes=5)
GLOBAL_COPY_RTO: Final = Duration.of(minutes=30)
REPLICATION_RPO: Final = Duration.of(minutes=15)
VERSIONS_RTO: Final = Duration.of(hours=1)
BACKUP_DELAY: Final = Duration.of(hours=4)
BACKUP_COPY_DELAY: Final = Duration.of(hours=4)
BACKUP_RTO: Final = Duration.of(hours=2)
REBUILD_RTO: Final = Duration.of(hours=8)
BRING_UP: Final = Duration.of(minutes=30)

STORE_LOST: Final = "the store is lost"
REGION_LOST: Final = "the region is lost"


@dataclass(frozen=True, slots=True)
class Reach:
    """What one store reaches after one loss; None is never. `instead` says what would reach further."""

    store: str
    loss: str
    rpo: Duration | None
    rto: Duration | None
    means: str
    instead: str


def reaches(manifest: Manifest) -> Iterator[Reach]:
    """Each store that holds data, after each loss that the manifest asks about.

    Redis is left out: it holds limits and caches, which start empty. An external PostgreSQL is its owner's
    to recover.
    """
    losses = (STORE_LOST, REGION_LOST) if manifest.recovery.region else (STORE_LOST,)
    backups = manifest.recovery.backups
    for loss in losses:
        postgres, objects = manifest.data.postgres, manifest.data.objects
        if postgres is not None and postgres.engine == "aurora":
            yield _postgres(postgres, backups, loss)
        if objects is not None and objects.endpoint_url is None:
            yield _objects(objects, backups, loss)
        if manifest.data.search == "qdrant":
            yield _by_backup("qdrant", backups, loss, "write search: pgvector, which is recovered with postgres")
        elif manifest.data.search != "pgvector":
            yield Reach(
                manifest.data.search, loss, NOTHING, _served(REBUILD_RTO), "made again from the documents",
                "write search: pgvector, which is recovered with postgres",
            )  # fmt: skip
        if manifest.data.graph == "neptune":
            yield _neptune(backups, loss)
        if manifest.data.dynamodb.tables:
            yield _tables(manifest.data.dynamodb, backups, loss)
        for name, service in manifest.services.items():
            if service.volume is not None and service.volume.kind == "efs":
                yield _by_backup(name, backups, loss, "keep its data in a store with point-in-time recovery")


def _postgres(postgres: Postgres, backups: Backups, loss: str) -> Reach:
    if loss == STORE_LOST:
        return Reach(
            "postgres", loss, POINT_IN_TIME_RPO, _served(POINT_IN_TIME_RTO), "point-in-time recovery",
            "no faster means is known to Slipway; write an objective that can be reached",
        )  # fmt: skip
    if postgres.copy_to_recovery_region:
        return Reach(
            "postgres", loss, GLOBAL_COPY_RPO, _served(GLOBAL_COPY_RTO), "a copy in the recovery region",
            "no faster means is known to Slipway; write an objective that can be reached",
        )  # fmt: skip
    return _by_backup("postgres", backups, loss, "write data.postgres.copy_to_recovery_region: true")


def _neptune(backups: Backups, loss: str) -> Reach:
    instead = "write graph: postgres, which is recovered with postgres"
    if loss == STORE_LOST:
        return Reach("neptune", loss, POINT_IN_TIME_RPO, _served(POINT_IN_TIME_RTO), "point-in-time recovery", instead)
    return _by_backup("neptune", backups, loss, instead)


def _tables(tables: DynamoDB, backups: Backups, loss: str) -> Reach:
    if loss == STORE_LOST:
        return Reach(
            "dynamodb", loss, POINT_IN_TIME_RPO, _served(POINT_IN_TIME_RTO), "point-in-time recovery",
            "no faster means is known to Slipway; write an objective that can be reached",
        )  # fmt: skip
    if tables.copy_to_recovery_region:
        return Reach(
            "dynamodb", loss, GLOBAL_COPY_RPO, _served(NOTHING), "global tables",
            "no faster means is known to Slipway; write an objective that can be reached",
        )  # fmt: skip
    return _by_backup("dynamodb", backups, loss, "write data.dynamodb.copy_to_recovery_region: true")


def _objects(objects: Objects, backups: Backups, loss: str) -> Reach:
    if not objects.versioning:  # both S3 replication and AWS Backup for S3 require a versioned bucket
        return Reach("objects", loss, None, None, "no older versions", "write data.objects.versioning: true")
    if loss == STORE_LOST:
        return Reach(
            "objects", loss, NOTHING, _served(VERSIONS_RTO), "older versions of each object",
            "no faster means is known to Slipway; write an objective that can be reached",
        )  # fmt: skip
    if objects.copy_to_recovery_region:
        return Reach(
            "objects", loss, REPLICATION_RPO, _served(NOTHING), "replication to the recovery region",
            "no faster means is known to Slipway; write an objective that can be reached",
        )  # fmt: skip
    return _by_backup("objects", backups, loss, "write data.objects.copy_to_recovery_region: true")


def _by_backup(store: str, backups: Backups, loss: str, instead: str) -> Reach:
    """What the most frequent backup gives: as old as its interval, and the time until it is usable."""
    cadences = (("daily", backups.daily, 1), ("weekly", backups.weekly, 7), ("monthly", backups.monthly, 31))
    for name, kept, days in cadences:
        if kept is not None:
            delay = BACKUP_DELAY.milliseconds + (BACKUP_COPY_DELAY.milliseconds if loss == REGION_LOST else 0)
            rpo = Duration(Duration.of(days=days).milliseconds + delay)
            return Reach(store, loss, rpo, _served(BACKUP_RTO), f"{name} backups", instead)
    return Reach(store, loss, None, None, "no backup", f"{instead}, or recovery.backups.daily: 35d")


def _served(restored: Duration) -> Duration:
    return Duration(restored.milliseconds + BRING_UP.milliseconds)
