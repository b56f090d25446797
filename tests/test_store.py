"""The regions file and the JSON object: what they hold, and that a file is written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from walks import hand_path, hand_walk

from lronnx import store
from lronnx.errors import InputError
from lronnx.regions import PathWalk

FIGURES = {
    "length",
    "regions",
    "linear_regions",
    "breakpoints",
    "switches",
    "smallest_region",
    "density",
    "absolute_deviation",
    "absolute_deviation_norm",
    "absolute_deviation_bound",
    "total_variation",
    "end_to_end_variation",
    "slope_variation",
    "local_similarity",
    "decision_changes",
    "switches_by_node",
    "self_check",
    "partial",
    "forward_passes",
    "seconds",
}
CONTRACT = FIGURES | {"model", "engine", "precision", "device", "outputs", "segments", "version", "per_segment"}

FIRST = hand_walk([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], length=4.0)
SECOND = hand_walk([[0.0, 1.0], [5.0, 1.0]])
PATH = hand_path(FIRST, SECOND)


def write(place: Path, path: PathWalk = PATH, **options: Any) -> pa.Table:
    store.write_regions(place, path, model="net.onnx", sha256="ab" * 32, options=options, version="1.2.3")
    return pq.read_table(place)


# --- JSON -----------------------------------------------------------------------------------------------------


def test_json_keys_are_the_contract() -> None:
    content = store.walk_to_json(PATH, model="net.onnx", version="1.2.3")
    assert set(content) == CONTRACT
    assert [set(segment) for segment in content["per_segment"]] == [FIGURES, FIGURES]
    assert set(content["self_check"]) == {"ok", "contradictions", "end_pattern_mismatches", "max_value_error"}
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_json_figures() -> None:
    content = store.walk_to_json(PATH, model="net.onnx", version="1.2.3")
    assert content["model"] == "net.onnx"
    assert (content["outputs"], content["segments"], content["device"]) == (2, 2, "cpu")
    assert (content["regions"], content["breakpoints"], content["switches"]) == (3, 1, 2)
    assert (content["length"], content["density"]) == (6.0, 0.5)
    assert content["absolute_deviation"] == [2.0, 2.0]
    assert content["absolute_deviation_norm"] == pytest.approx(math.sqrt(8))
    assert content["switches_by_node"] == {"a": 1, "b": 1}
    assert content["decision_changes"] == [
        {"segment": 0, "t": 0.25, "before": 1, "after": 0},
        {"segment": 0, "t": 0.75, "before": 0, "after": 1},
        {"segment": 1, "t": 0.2, "before": 1, "after": 0},
    ]
    assert content["per_segment"][1]["decision_changes"] == content["decision_changes"][2:]
    assert content["per_segment"][0]["density"] == 0.5
    assert content["per_segment"][1]["local_similarity"] is None


def test_json_has_no_nan() -> None:
    path = hand_path(hand_walk([[1.0, 2.0]], partial=True, error=math.nan))
    content = store.walk_to_json(path, model="net.onnx", version="1.2.3")
    assert content["density"] is None
    assert content["smallest_region"] is None
    assert content["self_check"]["max_value_error"] is None
    assert content["self_check"]["ok"] is False
    assert content["partial"] is True
    json.dumps(content, allow_nan=False)


def test_json_of_no_segments() -> None:
    content = store.walk_to_json(PathWalk((), False, True, 0.0, "walk", "double", "cpu", 1), model="m", version="1")
    assert set(content) == CONTRACT
    assert (content["regions"], content["absolute_deviation"], content["per_segment"]) == (0, [], [])


def test_json_length_is_what_density_refers_to() -> None:
    content = store.walk_to_json(hand_path(hand_walk([[0.0], [1.0], [0.0]], partial=True)), model="m", version="1")
    assert content["density"] == content["regions"] / content["length"]


# --- the regions file -----------------------------------------------------------------------------------------


def test_schema_is_the_contract(tmp_path: Path) -> None:
    schema = write(tmp_path / "r.parquet").schema
    assert [(f.name, f.type) for f in schema] == [
        ("segment", pa.int32()),
        ("region", pa.int64()),
        ("t_start", pa.float64()),
        ("t_end", pa.float64()),
        ("value", pa.list_(pa.float64())),
        ("slope", pa.list_(pa.float64())),
        ("node", pa.string()),
        ("unit", pa.int64()),
        ("switches", pa.int32()),
    ]


def test_rows(tmp_path: Path) -> None:
    assert write(tmp_path / "r.parquet").to_pylist() == [
        {
            "segment": segment,
            "region": region,
            "t_start": t_start,
            "t_end": t_end,
            "value": value,
            "slope": slope,
            "node": node,
            "unit": unit,
            "switches": switches,
        }
        for segment, region, t_start, t_end, value, slope, node, unit, switches in [
            (0, 0, 0.0, 0.5, [0.0, 1.0], [2.0, -2.0], "a", 0, 2),
            (0, 1, 0.5, 1.0, [1.0, 0.0], [-2.0, 2.0], None, None, 0),
            (1, 0, 0.0, 1.0, [0.0, 1.0], [5.0, 0.0], None, None, 0),
        ]
    ]


def test_metadata(tmp_path: Path) -> None:
    write(tmp_path / "r.parquet", start="a.npy", lanes=None, target=Path("r.parquet"), shapes=(("x", (1, 2)),))
    raw = pq.read_metadata(tmp_path / "r.parquet").metadata
    metadata = {k.decode(): v.decode() for k, v in raw.items() if k.startswith(b"lronnx.")}
    assert metadata["lronnx.model"] == "net.onnx"
    assert metadata["lronnx.sha256"] == "ab" * 32
    assert json.loads(metadata["lronnx.options"]) == {
        "start": "a.npy",
        "lanes": None,
        "target": "r.parquet",
        "shapes": [["x", [1, 2]]],
    }
    assert metadata["lronnx.version"] == "1.2.3"
    assert metadata["lronnx.numpy_version"] == np.__version__
    assert metadata["lronnx.onnxruntime_version"][0].isdigit()
    assert metadata["lronnx.partial"] == "false"
    assert json.loads(metadata["lronnx.self_check"])["ok"] is True
    assert json.loads(metadata["lronnx.lengths"]) == [4.0, 2.0]


def test_a_doubtful_result_is_marked(tmp_path: Path) -> None:
    write(tmp_path / "r.parquet", hand_path(hand_walk([[0.0], [1.0]], partial=True, mismatches=3)))
    raw = pq.read_metadata(tmp_path / "r.parquet").metadata
    assert raw[b"lronnx.partial"] == b"true"
    assert json.loads(raw[b"lronnx.self_check"])["ok"] is False


def test_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_ROW_GROUP_BYTES", 1000)
    # Of 1000 bytes, that is 8 rows of two times three numbers.
    values = np.random.default_rng(0).standard_normal((101, 3))
    table = write(tmp_path / "r.parquet", hand_path(hand_walk(values.tolist()), *[hand_walk([[0.0] * 3] * 3)] * 10))
    assert pq.read_metadata(tmp_path / "r.parquet").num_row_groups == 15
    np.testing.assert_array_equal(np.array(table["value"].to_pylist())[:100], values[:-1])
    assert table["region"].to_pylist() == [*range(100), *[0, 1] * 10]
    assert table["unit"].to_pylist() == [*range(99), None, *[0, None] * 10]
    assert table["segment"].to_pylist() == [0] * 100 + [s for s in range(1, 11) for _ in range(2)]


def test_no_regions_at_all(tmp_path: Path) -> None:
    assert write(tmp_path / "r.parquet", hand_path(hand_walk([[0.0]], partial=True))).num_rows == 0


# --- whole or not at all --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), MemoryError()])
def test_failure_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(store, "_batch", fail)
    with pytest.raises(type(error)):
        write(tmp_path / "r.parquet")
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.parquet").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        write(tmp_path / "r.parquet")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("r.parquet", b"old")]


def test_an_old_file_is_replaced_and_links_are_kept(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "r.bin", tmp_path / "link.bin"
    target.write_bytes(b"old")
    link.symlink_to(target)
    store.check_writable(link)
    store.write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert len(list((tmp_path / "real").iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        store.write_bytes(tmp_path / "r.bin", b"x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "r.bin").stat().st_mode) == 0o640


def test_writable_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.check_writable(tmp_path / "new.parquet")
    monkeypatch.chdir(tmp_path)
    store.check_writable(Path("new.parquet"))
    (tmp_path / "old.parquet").write_bytes(b"old")
    store.check_writable(tmp_path / "old.parquet", sources={"the model": tmp_path / "gone.onnx"})
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("old.parquet", b"old")]


def test_places_that_are_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for target, reason in [
        (tmp_path, "folder"),
        (tmp_path / "gone" / "r.parquet", "does not exist"),
        (tmp_path / "file" / "r.parquet", "not a folder"),
        (Path(os.devnull), "ordinary file"),
    ]:
        with pytest.raises(InputError, match=reason):
            store.check_writable(target)
    with pytest.raises(InputError, match="the model itself"):
        store.check_writable(tmp_path / "file", sources={"the model": tmp_path / "file"})

    def denied(*arguments: Any, **options: Any) -> int:
        raise PermissionError(13, "Permission denied")

    # As root, who may run these tests, no folder is closed.
    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(InputError, match="Permission denied"):
        store.check_writable(tmp_path / "r.parquet")


def test_a_protected_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.parquet").write_bytes(b"keep")
    monkeypatch.setattr(os, "access", lambda *a, **k: False)
    with pytest.raises(InputError, match="write-protected"):
        store.check_writable(tmp_path / "r.parquet")
