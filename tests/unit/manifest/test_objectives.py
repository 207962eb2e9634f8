"""Recovery objectives, store by store: what is reached, what is refused, and what may be accepted."""

from itertools import product

import pytest

from slipway.manifest.rules.reach import REGION_LOST, STORE_LOST, reaches

TWO_REGIONS = "data: {postgres: {copy_to_recovery_region: true}}\n"


def recovery(objectives: str, extra: str = "") -> str:
    return f"recovery: {{region: us-west-2, objectives: {objectives}{extra}}}\n"


@pytest.mark.requirement("DRP-02", "R")
def test_what_each_store_reaches_is_counted_for_each_loss(document) -> None:
    manifest = document(
        "data: {postgres: {copy_to_recovery_region: true}, search: qdrant, graph: neptune}\n"
        "recovery: {region: us-west-2, backups: {daily: 35d}}\n"
    ).loaded(None).manifest  # fmt: skip
    figures = {(r.store, r.loss): (str(r.rpo), str(r.rto)) for r in reaches(manifest)}
    assert figures == {
        ("postgres", STORE_LOST): ("5m", "90m"),
        ("postgres", REGION_LOST): ("5m", "1h"),
        ("objects", STORE_LOST): ("0s", "90m"),
        ("objects", REGION_LOST): ("15m", "30m"),
        ("qdrant", STORE_LOST): ("28h", "150m"),
        ("qdrant", REGION_LOST): ("32h", "150m"),
        ("neptune", STORE_LOST): ("5m", "90m"),
        ("neptune", REGION_LOST): ("32h", "150m"),
    }


def test_one_region_asks_about_the_store_alone(document) -> None:
    manifest = document("recovery: {objectives: {rto: 4h, rpo: 1h}}").loaded(None).manifest
    assert {(r.store, r.loss) for r in reaches(manifest)} == {("postgres", STORE_LOST), ("objects", STORE_LOST)}


@pytest.mark.requirement("DRP-02", "R")
@pytest.mark.parametrize(
    ("objectives", "holds"),
    [
        ("{rto: 4h, rpo: 1h}", True),  # 000 and 002
        ("{rto: 90m, rpo: 15m}", True),
        ("{rto: 30m, rpo: 5m}", False),  # 003
        ("{rto: 4h, rpo: 14m}", False),
        ("{rto: 89m, rpo: 1h}", False),
    ],
)
def test_objectives_hold_exactly_as_far_as_the_means_reach(problems, objectives: str, holds: bool) -> None:
    assert (problems(TWO_REGIONS + recovery(objectives)) == []) is holds


def test_a_miss_names_the_store_the_figure_the_cause_and_what_to_write(problems) -> None:
    told = problems(recovery("{rto: 4h, rpo: 1h}"))
    assert len(told) == 1
    assert told[0] == (
        "3:53 recovery.objectives.rpo: postgres may lose 32h when the region is lost (daily backups), and the "
        "objective is 1h: write data.postgres.copy_to_recovery_region: true, or accept it under "
        "recovery.accepted_gaps: {store: postgres, rpo: 32h, why: …}"
    )


@pytest.mark.parametrize(
    ("data", "backups", "store", "figure"),
    [
        (
            "{objects: {copy_to_recovery_region: false}, postgres: {copy_to_recovery_region: true}}",
            "{daily: 35d}",
            "objects",
            "32h",
        ),
        ("{search: qdrant, postgres: {copy_to_recovery_region: true}}", "{weekly: 1y}", "qdrant", "176h"),
        ("{graph: neptune, postgres: {copy_to_recovery_region: true}}", "{monthly: 7y}", "neptune", "752h"),
    ],
)
def test_the_most_frequent_backup_decides(problems, data: str, backups: str, store: str, figure: str) -> None:
    told = problems(f"data: {data}\n" + recovery("{rto: 4h, rpo: 1h}", f", backups: {backups}"))
    assert any(f"{store} may lose {figure} when the region is lost" in line for line in told)
    assert all(f".rpo: {store} " in line for line in told)


def test_a_store_without_any_backup_cannot_be_brought_back_and_no_figure_is_accepted(problems) -> None:
    text = "data: {search: qdrant, postgres: {copy_to_recovery_region: true}}\n"
    told = problems(text + recovery("{rto: 4h, rpo: 1h}", ", backups: {}"))
    assert {line.split(": ")[0].split(" ")[1] for line in told} == {
        "recovery.objectives.rpo",
        "recovery.objectives.rto",
    }
    assert all("qdrant cannot be brought back when" in line and "(no backup)" in line for line in told)
    gap = ", backups: {}, accepted_gaps: [{store: qdrant, rpo: 1y, rto: 1y, why: it is only a cache}]"
    told = problems(text + recovery("{rto: 4h, rpo: 1h}", gap))
    assert told
    assert all("no figure holds for that" in line for line in told)


def test_objects_without_versions_are_neither_replicated_nor_backed_up(problems) -> None:
    told = problems("data: {objects: {versioning: false}}\nrecovery: {objectives: {rto: 4h, rpo: 1h}}\n")
    assert len(told) == 2
    assert all(
        "objects cannot be brought back" in line and "write data.objects.versioning: true" in line for line in told
    )


@pytest.mark.requirement("DRP-02", "R")
@pytest.mark.parametrize(("rpo", "rto"), list(product(["32h", "31h"], ["150m", "149m"])))
def test_an_accepted_gap_states_the_figure_that_is_reached(problems, rpo: str, rto: str) -> None:
    gap = f", accepted_gaps: [{{store: qdrant, rpo: {rpo}, rto: {rto}, why: it is made again from the documents}}]"
    text = "data: {search: qdrant, postgres: {copy_to_recovery_region: true}}\n" + recovery("{rto: 2h, rpo: 1h}", gap)
    told = problems(text)
    wrong = {"rpo": rpo != "32h", "rto": rto != "150m"}
    for kind, is_wrong in wrong.items():
        of_kind = [line for line in told if f"recovery.accepted_gaps.0.{kind}: qdrant reaches" in line]
        assert bool(of_kind) is is_wrong
    assert bool(told) is any(wrong.values())
    assert all("write the figure it does reach" in line for line in told)


def test_a_gap_that_states_only_one_figure_leaves_the_other_refused(problems) -> None:
    gap = ", accepted_gaps: [{store: qdrant, rpo: 2d, why: it is made again from the documents}]"
    text = "data: {search: qdrant, postgres: {copy_to_recovery_region: true}}\n" + recovery("{rto: 2h, rpo: 1h}", gap)
    told = problems(text)
    assert told
    assert all(" recovery.objectives.rto: qdrant takes 150m " in line for line in told)


def test_a_gap_of_no_store_is_refused(problems) -> None:
    gap = ", accepted_gaps: [{store: object, rpo: 2d, why: nobody remembers why}]"
    told = problems(TWO_REGIONS + recovery("{rto: 4h, rpo: 1h}", gap))
    assert len(told) == 1
    assert "recovery.accepted_gaps.0.store: there is no store `object` here: did you mean `objects`?" in told[0]


def test_an_index_made_from_the_documents_loses_nothing_but_takes_its_time(problems) -> None:
    text = "data: {search: opensearch, postgres: {copy_to_recovery_region: true}}\n"
    assert problems(text + recovery("{rto: 9h, rpo: 1h}")) == []
    told = problems(text + recovery("{rto: 4h, rpo: 1h}"))
    assert all("opensearch takes 510m when" in line for line in told)
    assert len(told) == 2


def test_a_store_that_others_run_is_theirs_to_recover(problems) -> None:
    text = "data: {postgres: {engine: external, url_env: DATABASE_URL}, objects: {endpoint_url: 'http://minio.local:9000'}}\n"
    assert problems(text + recovery("{rto: 1m, rpo: 1s}")) == []


TABLES = "dynamodb: {tables: {usage_plans: {hash: plan}}%s}"
ON_EFS = "services: {vectors: {image: ./vectors, port: 80, volume: {kind: %s, path: /data}}}\n"


@pytest.mark.requirement("DRP-02", "R")
def test_tables_and_volumes_are_counted_as_well(document) -> None:
    manifest = document(
        f"data: {{{TABLES % ', copy_to_recovery_region: true'}}}\n{ON_EFS % 'efs'}"
        "recovery: {region: us-west-2, backups: {daily: 35d}}\n"
    ).loaded(None).manifest  # fmt: skip
    figures = {(r.store, r.loss): (str(r.rpo), str(r.rto)) for r in reaches(manifest)}
    assert figures[("dynamodb", STORE_LOST)] == ("5m", "90m")
    assert figures[("dynamodb", REGION_LOST)] == ("5m", "30m")
    assert figures[("vectors", STORE_LOST)] == ("28h", "150m")
    assert figures[("vectors", REGION_LOST)] == ("32h", "150m")


def test_tables_without_a_copy_come_back_from_backups(problems) -> None:
    two_regions = f"data: {{postgres: {{copy_to_recovery_region: true}}, {TABLES % ''}}}\n"
    told = problems(two_regions + recovery("{rto: 4h, rpo: 1h}"))
    assert len(told) == 1
    assert "dynamodb may lose 32h when the region is lost (daily backups)" in told[0]
    assert "write data.dynamodb.copy_to_recovery_region: true" in told[0]


@pytest.mark.requirement("DRP-02", "R")
def test_a_volume_on_efs_cannot_lose_five_minutes_only(problems) -> None:
    text = "components: {}\ndata: {postgres: null, objects: null}\n" + ON_EFS % "efs"
    told = problems(text + "recovery: {objectives: {rto: 30m, rpo: 5m}}")  # 003
    assert [line.split(" ", 1)[1].split(" when ")[0] for line in told] == [
        "recovery.objectives.rto: vectors takes 150m",
        "recovery.objectives.rpo: vectors may lose 28h",
    ]
    assert all("keep its data in a store with point-in-time recovery" in line for line in told)
    gap = "accepted_gaps: [{store: vectors, rpo: %s, rto: 150m, why: it is made again from the documents}]"
    assert problems(f"{text}recovery: {{objectives: {{rto: 30m, rpo: 5m}}, {gap % '28h'}}}") == []
    assert "vectors reaches 28h" in problems(f"{text}recovery: {{objectives: {{rto: 30m, rpo: 5m}}, {gap % '27h'}}}")[0]


def test_a_host_volume_holds_what_may_be_lost(problems) -> None:
    text = "compute: ec2\ncomponents: {}\ndata: {postgres: null, objects: null}\n" + ON_EFS % "host"
    assert problems(text + "recovery: {objectives: {rto: 30m, rpo: 5m}}") == []
