"""Journals: records that survive, torn and damaged ones, room that is kept, folders that change hands."""

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.base.errors import StorageFull, Unavailable
from slipway.runtime.journal import Journal, Reader, adopt
from slipway.runtime.journal import writer as journal_writer
from slipway.runtime.journal.framing import framed, unframed

ROOT = Path(__file__).parents[4]


def everything(folder: Path) -> tuple[list[tuple[str, str, bytes]], Reader]:
    reader = Reader(folder)
    records = [record[:3] for batch in iter(lambda: reader.read(7), []) for record in batch]
    reader.close()
    return [record for record in records if record[0] not in "HS"], reader


def folder_of(root: Path, content: bytes, *more: bytes) -> Path:
    for number, each in enumerate((content, *more), 1):
        (root / f"{number:06d}.log").write_bytes(each)
    return root


RECORDS = [("O", f"req_{number}", b'{"n":%d}' % number * (number + 1)) for number in range(6)]
LINES = [framed(*record) for record in RECORDS]


@given(
    st.sampled_from("OCLW"),
    st.text(st.characters(codec="utf-8", exclude_characters=" \n\0"), min_size=1),
    st.binary().filter(lambda data: b"\n" not in data),
)
def test_a_record_comes_back_from_its_line(kind, record_id, payload):
    assert unframed(framed(kind, record_id, payload)[:-1]) == (kind, record_id, payload)


@given(st.binary())
def test_other_lines_are_no_records(line):
    assert unframed(line) is None


@pytest.mark.parametrize("rest", [b"", b"\0" * 5000], ids=["cut", "reserved"])
def test_a_tail_torn_at_any_byte_ends_the_journal(tmp_path, rest):
    whole = b"".join(LINES)
    ends = [sum(map(len, LINES[: count + 1])) for count in range(len(LINES))]
    for cut in range(len(whole) + 1):
        records, reader = everything(folder_of(tmp_path, whole[:cut] + rest))
        assert records == RECORDS[: sum(end <= cut for end in ends)], cut
        assert reader.damaged == 0
        assert reader.torn == (cut not in (0, *ends))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_costs_the_records_that_it_touches_and_is_counted(tmp_path_factory, data):
    whole = bytearray(b"".join(LINES))
    place = data.draw(st.integers(0, len(whole) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=40))
    before = bytes(whole)
    whole[place : place + len(damage)] = damage[: len(whole) - place]
    records, reader = everything(folder_of(tmp_path_factory.mktemp("journal"), bytes(whole)))
    touched, offset = set(), 0
    for number, line in enumerate(LINES):
        if before[offset : offset + len(line)] != bytes(whole[offset : offset + len(line)]):
            touched.add(number)
        offset += len(line)
    kept = [record for number, record in enumerate(RECORDS) if number not in touched]
    # A line feed that is gone takes the record behind it along.
    assert all(record in RECORDS for record in records)
    assert len(kept) - len(touched) <= len(records) <= len(kept)
    assert not touched or reader.damaged or reader.torn


def test_a_lost_page_in_the_middle_and_a_lost_segment_are_counted(tmp_path):
    holed = LINES[0] + b"\0" * len(LINES[1]) + LINES[2] + LINES[3][:5]
    folder_of(tmp_path, holed, LINES[4])
    records, reader = everything(tmp_path)
    assert records == [RECORDS[0], RECORDS[2], RECORDS[4]] and reader.damaged == 2
    (tmp_path / "000002.log").rename(tmp_path / "000004.log")
    records, reader = everything(tmp_path)
    assert records == [RECORDS[0], RECORDS[2], RECORDS[4]] and reader.damaged == 3


def test_a_line_longer_than_a_chunk_is_read(tmp_path):
    payload = b"x" * 700_000
    records, reader = everything(folder_of(tmp_path, LINES[0] + framed("O", "long", payload) + LINES[1]))
    assert records == [RECORDS[0], ("O", "long", payload), RECORDS[1]] and reader.damaged == 0


def test_a_live_journal_is_followed_over_its_segments_from_any_position(tmp_path):
    journal = Journal.open(tmp_path, segment_bytes=4096)
    reader = Reader(journal.folder, end=lambda: journal.position, kinds="C")
    seen, positions = [], []
    for number in range(500):
        journal.append("O", str(number), b"{}" * 20)
        journal.append("C", str(number), b"[]" * 20)
        if number % 7 == 0:
            for record in reader.read(1000):
                seen.append(int(record.id))
                positions.append(record.position)
    seen += [int(record.id) for record in reader.read(1000)]
    assert seen == list(range(500)) and reader.damaged == 0 and journal.position.segment > 5
    again = Reader(journal.folder, positions[99], end=lambda: journal.position, kinds="C")
    assert [int(record.id) for record in again.read(3)] == [100, 101, 102]
    asyncio.run(journal.remove_before(3))
    late = Reader(journal.folder, end=lambda: journal.position, kinds="C")
    assert late.read(1)[0].position.segment >= 3
    for each in (reader, again, late):
        each.close()
    journal.close()


def test_every_segment_begins_with_a_snapshot(tmp_path):
    held: dict[str, bytes] = {}
    journal = Journal.open(
        tmp_path, segment_bytes=2048, snapshot=lambda: [("O", key, value) for key, value in held.items()]
    )
    for number in range(200):
        journal.append("O", f"r{number}", b"{}")
        held[f"r{number}"] = b"{}"
        if number > 2:
            journal.append("C", f"r{number - 3}", b"{}")
            del held[f"r{number - 3}"]
    asyncio.run(journal.remove_before(journal.position.segment))
    assert len(list(journal.folder.glob("*.log"))) == 1
    journal.close()
    records, _ = everything(journal.folder)
    open_ids: set[str] = set()
    for kind, record_id, _ in records:
        (open_ids.add if kind == "O" else open_ids.discard)(record_id)
    assert open_ids == set(held)


def filled(journal: Journal) -> list[str]:
    """Opens until it is refused."""
    opened = []
    with pytest.raises((StorageFull, Unavailable)) as refused:
        for number in range(100_000):
            journal.append("O", f"r{number}", b"o" * 100, reserve_bytes=300)
            opened.append(f"r{number}")
    assert "no room" in refused.value.public or "full" in refused.value.public
    return opened


def closes_all(journal: Journal, opened: list[str]) -> None:
    for record_id in opened:
        journal.append("C", record_id, b"c" * 250, release_bytes=300)
    with pytest.raises((StorageFull, Unavailable)):
        for number in range(100_000):
            journal.append("O", f"more{number}", b"o" * 100, reserve_bytes=300)
    journal.close()
    records, reader = everything(journal.folder)
    assert [record_id for kind, record_id, _ in records if kind == "C"] == opened
    assert reader.damaged == 0


def test_at_the_bound_of_the_journal_what_reserved_room_finds_it(tmp_path):
    journal = Journal.open(tmp_path, segment_bytes=8192, max_bytes=40_000)
    opened = filled(journal)
    assert len(opened) > 50 and journal.size_bytes <= 40_000
    with pytest.raises(Unavailable):
        journal.check()
    closes_all(journal, opened)


FULL_DISK = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
from slipway.runtime.journal import Journal
from tests.unit.runtime.journal.test_journal import closes_all, filled

journal = Journal.open(Path(sys.argv[1]), segment_bytes=200_000)
opened = filled(journal)
assert len(opened) > 300, len(opened)
closes_all(journal, opened)
try:
    Journal.open(Path(sys.argv[1]), segment_bytes=2_000_000)
except Exception as error:
    assert type(error).__name__ == "StorageFull", error
else:
    raise AssertionError("room for a journal on a full disk")
"""


def test_on_a_full_disk_openings_are_refused_and_closings_find_their_room(tmp_path):
    """A file system of 1 MB where one may be mounted; otherwise nothing but its refusals are played (below)."""
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    script = 'mount -t tmpfs -o size=1m tmpfs "$1"; exec "$2" -c "$3" "$1"'
    able = subprocess.run(
        [*mount, 'mount -t tmpfs -o size=1m tmpfs "$1"', "sh", str(tmp_path)], capture_output=True, check=False
    )
    if able.returncode:
        pytest.skip(f"no file system can be mounted here: {able.stderr.decode().strip()}")
    done = subprocess.run(
        [*mount, script, "sh", str(tmp_path), sys.executable, FULL_DISK],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path):
    program = (
        "import resource, sys; from pathlib import Path; from slipway.runtime.journal import Journal\n"
        "journal = Journal.open(Path(sys.argv[1]), segment_bytes=100_000)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n"
        "    while True: journal.append('O', 'x', b'x' * 1000)\n"
        "except Exception as error: print(type(error).__name__, journal.position.offset)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    name, offset = done.stdout.split()
    assert name == "StorageFull" and 48_000 < int(offset) <= 50_000
    [orphan] = adopt(tmp_path)
    records, reader = everything(orphan.folder)
    assert len(records) == len([record for record in records if record[2] == b"x" * 1000]) > 40
    assert reader.damaged == 0
    orphan.done()


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, Unavailable)]
)
def test_a_refused_write_leaves_the_journal_as_it_was(tmp_path, monkeypatch, number, error):
    journal = Journal.open(tmp_path)
    journal.append("O", "before", b"{}")
    place = journal.position
    with monkeypatch.context() as broken:
        broken.setattr(journal_writer.os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(number, "no")))
        with pytest.raises(error):
            journal.append("O", "refused", b"{}" * 100)
    with monkeypatch.context() as short:
        short.setattr(journal_writer.os, "pwrite", lambda file, data, offset: os.write(os.open(os.devnull, 1), b"x"))
        with pytest.raises(StorageFull):
            journal.append("O", "refused", b"{}" * 100)
    assert journal.position == place
    journal.append("O", "after", b"{}")
    journal.close()
    records, reader = everything(journal.folder)
    assert [record_id for _, record_id, _ in records] == ["before", "after"] and reader.damaged == 0


async def appended(journal: Journal, record_id: str, payload: bytes, **options: int) -> None:
    journal.append("O", record_id, payload, **options)
    await journal.synced()


def test_always_syncs_before_it_returns_and_one_sync_serves_many(tmp_path, monkeypatch):
    synced = []
    real = os.fdatasync
    monkeypatch.setattr(journal_writer.os, "fdatasync", lambda file: (synced.append(file), real(file)))

    async def go() -> None:
        journal = Journal.open(tmp_path, sync="always", segment_bytes=4096)
        await appended(journal, "one", b"{}")
        assert len(synced) == 1
        await asyncio.gather(*(appended(journal, str(number), b"{}" * 30) for number in range(200)))
        # One was under way when the others came, and one served them all, with the segments that were left behind.
        assert len(synced) <= 3 + journal.position.segment
        journal.close()

    asyncio.run(go())


def test_a_device_that_fails_to_sync_refuses_what_comes(tmp_path, monkeypatch):
    journal = Journal.open(tmp_path, sync="always")
    monkeypatch.setattr(
        journal_writer.os, "fdatasync", lambda file: (_ for _ in ()).throw(OSError(errno.EIO, "broken"))
    )

    async def go() -> None:
        with pytest.raises(Unavailable):
            await appended(journal, "one", b"{}", reserve_bytes=10)

    asyncio.run(go())
    with pytest.raises(Unavailable):
        journal.append("O", "two", b"{}")
    with pytest.raises(Unavailable):
        journal.check()
    journal.append("C", "one", b"{}", release_bytes=10)
    journal.close()


def test_interval_syncs_by_itself(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(journal_writer.os, "fdatasync", synced.append)
    monkeypatch.setattr(journal_writer, "_SYNC_S", 0.01)

    async def go() -> None:
        journal = Journal.open(tmp_path)
        running = asyncio.create_task(journal.run())
        journal.append("O", "one", b"{}")
        async with asyncio.timeout(5):
            while not synced:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        journal.close(remove=True)

    asyncio.run(go())
    assert list(tmp_path.iterdir()) == []


def test_only_dead_journals_are_adopted_and_each_once(tmp_path):
    living = Journal.open(tmp_path)
    dead = Journal.open(tmp_path)
    dead.append("O", "one", b"{}")
    dead.close()
    [orphan] = adopt(tmp_path)
    assert orphan.instance_id == dead.instance_id
    assert adopt(tmp_path) == []
    orphan.release()
    [orphan] = adopt(tmp_path)
    assert [record.id for record in orphan.reader().read(9)][-1] == "one"
    orphan.done()
    assert adopt(tmp_path) == [] and adopt(tmp_path / "none") == []
    assert [path.name for path in tmp_path.iterdir()] == [living.instance_id]
    living.close(remove=True)


ADOPTER = """
import sys, time
from pathlib import Path
from slipway.runtime.journal import adopt
root = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
while any(root.iterdir()):
    for orphan in adopt(root):
        print(orphan.instance_id, flush=True)
        orphan.done()
"""


def test_processes_that_race_for_journals_take_each_once(tmp_path):
    names = []
    for _ in range(150):
        journal = Journal.open(tmp_path, segment_bytes=1000)
        names.append(journal.instance_id)
        journal.close()
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", ADOPTER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    taken = [name for racer in racers for name in racer.communicate("go\n", timeout=60)[0].split()]
    assert sorted(taken) == sorted(names)
