"""The run folder: whatever happens on the way, what it holds in the end is the same, to the byte."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lronnx import records, run_folder, store
from lronnx.errors import InputError
from lronnx.places import Place
from lronnx.run_folder import Outcome, RunFolder

STUDY = {"model": {"sha256": "0" * 64}, "walk": {"seed": 1, "lanes": None}}
PATHS, PER_PART = 11, 4


def outcome(path: int, regions: bool = False) -> Outcome:
    """A result that depends on the path alone; the times do not."""
    rng = np.random.default_rng(path)
    names = [field.name for field in records.SEGMENTS]
    rows = []
    for segment in range(1 + path % 3):
        row: dict[str, Any] = dict.fromkeys(names)
        for field in records.SEGMENTS:
            if field.type == pa.float64():
                row[field.name] = rng.random()
            elif pa.types.is_integer(field.type):
                row[field.name] = int(rng.integers(100))
            elif field.type == pa.bool_():
                row[field.name] = bool(rng.integers(2))
            elif field.type == pa.string():
                row[field.name] = str(rng.integers(3))
            elif pa.types.is_list(field.type):
                row[field.name] = rng.random(3).tolist()
            elif field.type.item_type == pa.int64():
                row[field.name] = [("node", int(rng.integers(9)))]
            elif pa.types.is_list(field.type.item_type):
                row[field.name] = [("node", rng.integers(9, size=records.PLACES).tolist())]
            else:
                units = rng.integers(9, size=4).tolist()
                row[field.name] = [("node", {"unit": units, "switches": units})] if path % 2 else None
        row |= {"path": path, "segment": segment, "label": None if path % 4 == 0 else 1}
        rows.append(row)
    (batch,) = pa.Table.from_pylist(rows, records.SEGMENTS).combine_chunks().to_batches()
    time = {"path": path, "seconds": random.random(), "worker": f"here:{os.getpid()}", "device": "cpu"}
    return Outcome(
        path, batch, pa.RecordBatch.from_pylist([time], records.TIMES), b"regions of %d" % path if regions else None
    )


def open_run(place: str | Path | Place, study: Any = STUDY, *, regions: bool = False, paths: int = PATHS) -> RunFolder:
    return RunFolder.open(
        place if isinstance(place, Place) else Place.open(place),
        study,
        paths=paths,
        per_part=PER_PART,
        schema=records.SEGMENTS,
        keeps_regions=regions,
        environment={"lronnx": "1"},
    )


def crash(run: RunFolder) -> None:
    """As far as others can see, the process is gone."""
    if run._lock is not None:
        run._lock.release()


def content(folder: Path, *parts: str) -> dict[str, bytes]:
    return {f"{part}/{path.name}": path.read_bytes() for part in parts for path in sorted((folder / part).iterdir())}


def straight(folder: Path, regions: bool = False) -> dict[str, bytes]:
    with open_run(folder, regions=regions) as run:
        for path in range(PATHS):
            run.add(outcome(path, regions))
        assert run.complete
    return content(folder, "segments", *(["regions"] if regions else []))


def go_on(run: RunFolder, regions: bool = False, until: int = PATHS) -> int:
    """Do what is missing, up to so many paths."""
    missing = [path for path in range(PATHS) if path not in run.done][:until]
    for path in missing:
        run.add(outcome(path, regions))
    return len(missing)


@pytest.fixture(autouse=True)
def _journal_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "JOURNAL_EVERY", 0.0)
    # No power fails here, and waiting for the disk takes most of the time.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def test_a_straight_run(tmp_path: Path) -> None:
    expected = straight(tmp_path / "run", regions=True)
    assert [name.split("-")[1] for name in expected if name.startswith("segments")] == ["00000", "00001", "00002"]
    assert not list((tmp_path / "run" / "journal").iterdir())
    table = pyarrow.dataset.dataset(tmp_path / "run" / "segments").to_table()
    wanted = pa.Table.from_batches([outcome(path).rows for path in range(PATHS)])
    assert table.to_pylist() == wanted.to_pylist()
    assert json.loads(table.schema.metadata[b"lronnx.study"]) == STUDY
    assert {name: data for name, data in expected.items() if name.startswith("regions")} == {
        f"regions/path-{path:06d}-{hashlib.sha256(b'regions of %d' % path).hexdigest()[:16]}.parquet": b"regions of %d"
        % path
        for path in range(PATHS)
    }


def test_rows_come_back_in_the_order_of_the_paths(tmp_path: Path) -> None:
    straight(tmp_path)
    with open_run(tmp_path) as run:
        rows = pa.Table.from_batches(run.rows())
        assert run.seconds() > 0
    assert rows.column("path").to_pylist() == [path for path in range(PATHS) for _ in range(1 + path % 3)]


STRAIGHT: dict[bool, dict[str, bytes]] = {}
"""What a run without interruptions leaves, with regions and without."""


@settings(max_examples=50, deadline=None)
@given(
    order=st.permutations(range(PATHS)),
    breaks=st.lists(st.integers(0, PATHS), max_size=4),
    journal=st.sampled_from([0.0, 1e9]),
    tidy=st.booleans(),
    regions=st.booleans(),
    spared=st.booleans(),
)
def test_any_order_and_any_interruption_give_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory,
    order: list[int],
    breaks: list[int],
    journal: float,
    tidy: bool,
    regions: bool,
    spared: bool,
) -> None:
    folder = tmp_path_factory.mktemp("run")
    if regions not in STRAIGHT:
        STRAIGHT[regions] = straight(folder / "straight", regions)
    place = folder / "broken"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "JOURNAL_EVERY", journal)
        if spared:
            patch.setattr(run_folder, "WAITING_PARTS", 0)
        for stop in [*sorted(breaks), PATHS]:
            run = open_run(place, regions=regions)
            before = len(run.done)
            for path in order[:stop]:
                if path not in run.done:
                    run.add(outcome(path, regions))
            assert run.done >= set(order[:stop])
            if tidy or stop == PATHS:
                run.close()
            else:
                crash(run)
            if journal == 0.0 or tidy:
                again = open_run(place, regions=regions)
                assert len(again.done) >= max(before, stop)
                crash(again)
    assert content(place, "segments", *(["regions"] if regions else [])) == STRAIGHT[regions]
    timed = pyarrow.dataset.dataset(place / "times").to_table().column("path").to_pylist()
    assert sorted(timed) == list(range(PATHS))
    assert not list((place).glob("journal/*"))


def test_rows_in_memory_are_few_however_many_parts_lack_a_path(tmp_path: Path) -> None:
    run = open_run(tmp_path, paths=200)
    for path in range(200):
        if path % PER_PART:
            run.add(outcome(path))
    assert len(run._waiting) == 150
    assert sum(one is not None for one in run._waiting.values()) <= run_folder.WAITING_PARTS * PER_PART + 1
    crash(run)
    with open_run(tmp_path, paths=200) as again:
        assert sum(one is not None for one in again._waiting.values()) <= run_folder.WAITING_PARTS * PER_PART + 1
        for path in range(0, 200, PER_PART):
            again.add(outcome(path))
        assert again.complete
    table = pyarrow.dataset.dataset(tmp_path / "segments").to_table()
    assert table.to_pylist() == pa.Table.from_batches([outcome(path).rows for path in range(200)]).to_pylist()
    assert not list((tmp_path / "journal").iterdir())


def test_a_path_that_is_added_twice_is_kept_once(tmp_path: Path) -> None:
    expected = straight(tmp_path / "straight")
    with open_run(tmp_path / "run") as run:
        for path in [0, 0, 5, 5, *range(PATHS), 3]:
            run.add(outcome(path))
    assert content(tmp_path / "run", "segments") == expected


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "one bit": flip,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", ["segments", "times", "journal", "regions"])
def test_damage_is_found_and_mended(tmp_path: Path, part: str, damage: str) -> None:
    expected = straight(tmp_path / "straight", regions=True)
    run = open_run(tmp_path / "run", regions=True)
    # Two parts complete, one half done, so that there is a journal.
    go_on(run, True, 10)
    run.close()
    (tmp_path / "run" / "summary.json").write_text("{}")
    victim = sorted((tmp_path / "run" / part).iterdir())[0]
    DAMAGES[damage](victim)
    run = open_run(tmp_path / "run", regions=True)
    assert len(run.done) < 10
    assert bool(run.notices) == (damage != "gone")
    assert all(victim.name in notice and "damaged" in notice for notice in run.notices)
    if part == "regions":
        # The others of its part are kept.
        assert len(run.done) == 9
    assert not (tmp_path / "run" / "summary.json").exists()
    go_on(run, True)
    assert run.complete
    run.close()
    assert content(tmp_path / "run", "segments", "regions") == expected
    assert not list((tmp_path / "run" / "journal").iterdir())


def test_what_was_not_written_to_its_end_is_swept_away(tmp_path: Path) -> None:
    expected = straight(tmp_path / "straight")
    run = open_run(tmp_path / "run")
    go_on(run, until=6)
    crash(run)
    for part in ("segments", "journal", "times"):
        (tmp_path / "run" / part / ".part-00001.parquet.0123456789ab.part").write_bytes(b"half")
    (tmp_path / "run" / "segments" / "notes.parquet").write_bytes(b"not ours")
    with open_run(tmp_path / "run") as run:
        assert len(run.done) == 6
        go_on(run)
    assert content(tmp_path / "run", "segments") == expected


class Full(Exception):
    """Stands for a process that does not survive."""


@pytest.mark.parametrize("seed", range(8))
def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    expected = straight(tmp_path / "straight", regions=True)
    rng = random.Random(seed)
    write = store.write_bytes
    full = False

    def failing(target: Path, data: bytes) -> None:
        if full and rng.random() < 0.3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        write(target, data)

    monkeypatch.setattr(store, "write_bytes", failing)
    kept: set[int] = set()
    for attempt in range(200):
        full = attempt > 0
        try:
            with open_run(tmp_path / "run", regions=True) as run:
                assert run.done >= kept, "what was once written is still there"
                for path in rng.sample(range(PATHS), PATHS):
                    if path not in run.done:
                        run.add(outcome(path, regions=True))
                        # Journaled at once: add() has returned, so it is safe.
                        kept.add(path)
                if run.complete:
                    break
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    timed = pyarrow.dataset.dataset(tmp_path / "run" / "times").to_table().column("path").to_pylist()
    assert sorted(timed) == list(range(PATHS))
    assert content(tmp_path / "run", "segments", "regions") == expected


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True)
    if done.returncode:
        pytest.skip("no permission to make a file system")
    yield place
    subprocess.run(["umount", place], check=True)


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"\0" * 4096)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_disk_that_is_really_full_loses_nothing(tmp_path: Path, tiny_disk: Path) -> None:
    expected = straight(tmp_path / "straight")
    run = open_run(tiny_disk / "run")
    go_on(run, until=5)
    ballast = tiny_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        fill(ballast)
    with pytest.raises(OSError, match="No space"):
        go_on(run)
    crash(run)
    assert not list((tiny_disk / "run").rglob("*.part"))
    ballast.unlink()
    with open_run(tiny_disk / "run") as run:
        assert len(run.done) >= 5
        assert not run.notices
        go_on(run)
    assert content(tiny_disk / "run", "segments") == expected


def test_another_study_is_refused(tmp_path: Path) -> None:
    straight(tmp_path)
    before = content(tmp_path, "segments")
    other = {"model": {"sha256": "1" * 64}, "walk": {"seed": 2, "lanes": None}}
    with pytest.raises(InputError) as caught:
        open_run(tmp_path, other)
    told = str(caught.value)
    assert "another study" in told
    assert "walk.seed: 1 there, 2 here" in told
    assert "model.sha256" in told
    assert "lanes" not in told
    assert content(tmp_path, "segments") == before


def test_a_folder_that_holds_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        open_run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock") == ["thesis.tex"]


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', '"x"', '{"format": 7, "study": {}}'])
def test_a_damaged_manifest_is_told(tmp_path: Path, text: str) -> None:
    straight(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json is damaged|layout 7"):
        open_run(tmp_path)


def test_two_processes_do_not_work_on_one_folder(tmp_path: Path) -> None:
    with open_run(tmp_path), pytest.raises(InputError, match="another process"):
        open_run(tmp_path)
    open_run(tmp_path).close()


def test_new_versions_are_noted_once(tmp_path: Path) -> None:
    for versions in ({"numpy": "1"}, {"numpy": "2"}, {"numpy": "1"}):
        RunFolder.open(
            Place.open(tmp_path),
            STUDY,
            paths=PATHS,
            per_part=PER_PART,
            schema=records.SEGMENTS,
            keeps_regions=False,
            environment=versions,
            chosen=lambda: {"memory": len(list(tmp_path.iterdir()))},
        ).close()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [session["environment"] for session in manifest["sessions"]] == [{"numpy": "1"}, {"numpy": "2"}]


def test_a_folder_elsewhere(tmp_path: Path) -> None:
    import fsspec

    expected = straight(tmp_path / "straight", regions=True)
    url = f"memory://{tmp_path.name}/run"
    run = open_run(url, regions=True)
    go_on(run, True, 6)
    del run
    with open_run(url, regions=True) as run:
        assert len(run.done) == 6
        go_on(run, True)
        assert run.complete
    files = fsspec.filesystem("memory")
    found = {
        f"{part}/{name.rsplit('/', 1)[1]}": files.cat_file(name)
        for part in ("segments", "regions")
        for name in files.ls(f"/{tmp_path.name}/run/{part}", detail=False)
    }
    assert found == expected


def urls(path: Path) -> Sequence[str]:
    return [str(path), path.as_uri()]


@pytest.mark.parametrize("kind", [0, 1])
def test_paths_and_file_urls(tmp_path: Path, kind: int) -> None:
    place = Place.open(urls(tmp_path / "a folder")[kind])
    assert place.is_empty()
    place.write("x/y.bin", b"1")
    assert (tmp_path / "a folder" / "x" / "y.bin").read_bytes() == b"1"
    assert place.names("x") == ["y.bin"]
    assert place.names("none") == []
    assert place.local == tmp_path / "a folder"


@pytest.mark.parametrize("url", ["nosuchkind://x/y", "file://", "s3://"])
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(InputError):
        Place.open(url)


def test_a_remote_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place.open(f"memory://{tmp_path.name}/w")
    place.write("a/b", b"old")

    def failing(self: Place, path: str, data: bytes) -> None:
        original(self, path, data[:1])
        raise OSError(errno.ENOSPC, "full")

    original = Place._store
    monkeypatch.setattr(Place, "_store", failing)
    with pytest.raises(OSError, match="full"):
        place.write("a/b", b"new")
    assert place.names("a") == ["b"]
    assert place.read("a/b") == b"old"
