"""Run folders as a report reads them, and what a study keeps for that: exhibits, and switches of single units."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import lronnx
from lronnx import cli, records, run_folder, runs, study, summary
from lronnx.data import open_data
from lronnx.errors import InputError
from lronnx.walker import Stop

EXAMPLE = Path(__file__).parents[1] / "lronnx" / "example"
MODEL, DATA = EXAMPLE / "digits.onnx", EXAMPLE / "digits_data.npz"
QUICK = ("--radius", "1", "--anchors", "4", "--workers", "1")
PATHS = 16


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, ["analyze", *(str(a) for a in arguments)])
    assert result.exit_code == code, result.stderr
    return result


def exhibits(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "exhibits").iterdir())}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    run("-o", folder, "--samples", PATHS // 2, *QUICK)
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def rewrite(part: Path, table: pa.Table) -> Path:
    """A file with other rows in the place of a part, under the name that fits its content."""
    part.unlink()
    target = pa.BufferOutputStream()
    pq.write_table(table, target)
    content = bytes(target.getvalue())
    named = part.with_name(f"part-00000-{hashlib.sha256(content).hexdigest()[:16]}.parquet")
    named.write_bytes(content)
    return named


def rows(folder: Path) -> list[dict[str, Any]]:
    found = pyarrow.dataset.dataset(folder / "segments").to_table().to_pylist()
    assert found
    return list(found)


def test_what_is_read_is_what_the_rows_say(finished: Path) -> None:
    found = runs.read(str(finished))
    assert (found.done, found.total, found.notices) == (PATHS, PATHS, ())
    assert found.summary == json.loads((finished / "summary.json").read_text())
    table = rows(finished)
    units: dict[str, Counter[int]] = {}
    places: dict[str, Counter[tuple[int, int]]] = {}
    for row in table:
        for node, counted in row["switches_by_unit"]:
            units.setdefault(node, Counter()).update(dict(zip(counted["unit"], counted["switches"], strict=True)))
        for node, counted in row["switches_by_place"]:
            told = {(row["segment"], place): count for place, count in enumerate(counted)}
            places.setdefault(node, Counter()).update(told)
    network = lronnx.load(MODEL)
    assert found.unit_switches.keys() == found.place_switches.keys() == {n.label for n in network.switching_nodes}
    for node in network.switching_nodes:
        assert found.unit_switches[node.label].tolist() == [units[node.label][unit] for unit in range(node.units)]
        by_place = found.place_switches[node.label]
        assert by_place.shape == (4, records.PLACES)
        assert {place: int(count) for place, count in np.ndenumerate(by_place)} == {
            place: places[node.label][place] for place in np.ndindex(by_place.shape)
        }
    assert found.unit_paths == PATHS
    assert {name: int(array.sum()) for name, array in found.unit_switches.items()} == found.summary["totals"][
        "switches_by_node"
    ]
    firsts = {row["path"]: row for row in reversed(table)}
    for position, path in enumerate(found.paths["path"].tolist()):
        assert found.paths["index"][position] == firsts[path]["index"]
        assert found.paths["split"][position] == firsts[path]["split"]
        assert found.paths["label"][position] == firsts[path]["label"]
        mine = [row for row in table if row["path"] == path]
        deviation = np.linalg.norm(np.sum([row["absolute_deviation"] for row in mine], axis=0))
        assert found.paths["absolute_deviation_norm"][position] == pytest.approx(deviation, rel=1e-12)
        assert found.paths["regions"][position] == sum(row["regions"] for row in mine)
    assert found.metadata["lronnx.accuracy_test"]
    assert found.model == "digits.onnx"
    assert not found.estimated


def test_exhibits_are_the_extreme_paths_with_all_their_regions(finished: Path, tmp_path: Path) -> None:
    found = runs.read(str(finished))
    order = np.argsort(found.paths["absolute_deviation_norm"])
    assert [(one.path, one.most, one.rank) for one in found.exhibits] == [
        (int(order[-1]), True, 0),
        (int(order[-2]), True, 1),
        (int(order[0]), False, 0),
        (int(order[1]), False, 1),
    ]
    run("-o", tmp_path / "all", "--samples", PATHS // 2, *QUICK, "--regions")
    for one in found.exhibits:
        [name] = (tmp_path / "all" / "regions").glob(f"path-{one.path:06d}-*")
        assert one.regions.equals(pq.read_table(name))
        assert found.paths["path"][one.position] == one.path
        assert one.points.shape == (4, 1, 1, 8, 8)
    with np.load(DATA) as arrays:
        extreme = found.exhibits[0]
        image = arrays[f"x_{found.paths['split'][extreme.position]}"][found.paths["index"][extreme.position]]
    # One pixel to the right, down, left and up, edges repeated.
    padded = np.pad(image, 1, mode="edge")
    moved = [padded[1 - d : 9 - d, 1 - r : 9 - r] for d, r in [(0, 1), (1, 0), (0, -1), (-1, 0)]]
    assert (extreme.points.reshape(4, 8, 8) * 16 == np.stack(moved)).all()
    # Where every region is kept, no second copy is.
    again = runs.read(str(tmp_path / "all"))
    assert {name.split("-")[0] for name in exhibits(tmp_path / "all")} == {"points"}
    assert [(one.path, one.most, one.rank) for one in again.exhibits] == [
        (one.path, one.most, one.rank) for one in found.exhibits
    ]
    assert again.exhibits[0].regions.num_rows == extreme.regions.num_rows


@pytest.mark.parametrize("crew", [("--workers", 2), ("--cluster", "local", "--workers", 2)])
def test_exhibits_do_not_depend_on_who_walks(
    finished: Path, tmp_path: Path, crew: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_FEW_REGIONS", 0)
    run("-o", tmp_path / "run", "--samples", PATHS // 2, *QUICK[:-2], *crew)
    assert exhibits(tmp_path / "run") == exhibits(finished)


@pytest.mark.parametrize("damage", ["one bit", "gone", "another", "twice", "unfinished"])
def test_the_same_command_mends_exhibits(finished: Path, copied: Path, damage: str) -> None:
    names = sorted((copied / "exhibits").iterdir())
    if damage == "one bit":
        content = bytearray(names[0].read_bytes())
        content[len(content) // 2] ^= 1
        names[0].write_bytes(content)
        assert "damaged" in " ".join(runs.read(str(copied)).notices)
    elif damage == "gone":
        for name in names[::3]:
            name.unlink()
    elif damage == "another":
        (copied / "exhibits" / "path-000099-0123456789abcdef.parquet").write_bytes(b"")
        (copied / "exhibits" / "notes.txt").write_bytes(b"")
    elif damage == "twice":
        other = names[0].with_name(names[0].name[: len("path-000000-")] + "0123456789abcdef.parquet")
        other.write_bytes(names[0].read_bytes())
    else:
        (copied / "exhibits" / ".path-000001-0123456789abcdef.parquet.0011.part").write_bytes(b"half")
    ranks = {one.path: (one.most, one.rank) for one in runs.read(str(finished)).exhibits}
    left = runs.read(str(copied)).exhibits
    assert len(left) >= (1 if damage == "gone" else 3)
    assert all(ranks[one.path] == (one.most, one.rank) for one in left)
    result = run("-o", copied, "--samples", PATHS // 2, *QUICK)
    assert "0 paths walked" in result.stderr
    assert exhibits(copied) == exhibits(finished)


def test_fewer_and_more_exhibits(finished: Path, copied: Path) -> None:
    run("-o", copied, "--samples", PATHS // 2, *QUICK, "--exhibits", 1)
    assert [(one.most, one.rank) for one in runs.read(str(copied)).exhibits] == [(True, 0), (False, 0)]
    run("-o", copied, "--samples", PATHS // 2, *QUICK, "--exhibits", 0)
    found = runs.read(str(copied))
    assert not found.exhibits
    assert found.notices == (runs.NO_EXHIBITS,)
    # A comparison keeps none, whatever its options.
    manifest = copied / run_folder.MANIFEST
    kept = manifest.read_text()
    told = json.loads(kept)
    told["chosen"]["comparison"] = True
    manifest.write_text(json.dumps(told))
    assert runs.read(str(copied)).notices == (runs.COMPARED,)
    manifest.write_text(kept)
    # More than half of the paths on either side: none is shown twice.
    run("-o", copied, "--samples", PATHS // 2, *QUICK, "--exhibits", 10)
    kinds = [(one.most, one.rank) for one in runs.read(str(copied)).exhibits]
    assert kinds == [(most, rank) for most in (True, False) for rank in range(8)]
    run("-o", copied, "--samples", PATHS // 2, *QUICK)
    assert exhibits(copied) == exhibits(finished)


def test_an_exhibit_that_cannot_be_walked_is_told(
    finished: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copied / "exhibits")

    def fails(*arguments: object, **options: object) -> object:
        raise InputError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(lronnx.Network, "walk_path", fails)
        result = run("-o", copied, "--samples", PATHS // 2, *QUICK)
    assert "could not be kept: no more" in result.stderr
    assert "the same command makes up for it" in result.stderr
    assert not runs.read(str(copied)).exhibits
    run("-o", copied, "--samples", PATHS // 2, *QUICK)
    assert exhibits(copied) == exhibits(finished)


@pytest.mark.parametrize(
    ("units", "kept"), [(0, []), (1, [0]), (3, [0, 6, 11]), (16, list(range(16))), (99, list(range(16)))]
)
def test_single_units_of_so_many_paths(tmp_path: Path, units: int, kept: list[int]) -> None:
    run("-o", tmp_path / "run", "--samples", PATHS // 2, *QUICK, "--units", units, "--exhibits", 0)
    table = rows(tmp_path / "run")
    assert sorted({row["path"] for row in table if row["switches_by_unit"] is not None}) == kept
    assert all(row["switches_by_place"] is not None for row in table)
    found = runs.read(str(tmp_path / "run"))
    assert found.unit_paths == len(kept)
    assert bool(found.unit_switches) == bool(kept)
    switches = sum(row["switches"] for row in table if row["path"] in kept)
    assert sum(int(array.sum()) for array in found.unit_switches.values()) == switches


def test_the_number_of_units_is_part_of_the_study(copied: Path) -> None:
    result = run("-o", copied, "--samples", PATHS // 2, *QUICK, "--units", 3, code=2)
    assert "units: 64 there, 3 here" in result.stderr
    with pytest.raises(InputError, match="units must not be negative"):
        study.Settings(units=-1)


def test_a_run_that_is_not_finished(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = next((copied / "segments").iterdir())
    table = pq.read_table(part)
    part = rewrite(part, table.filter(pa.compute.field("path") < 5))
    (copied / "summary.json").unlink()
    found = runs.read(str(copied))
    assert (found.done, found.total) == (5, PATHS)
    assert "about the 5 of its 16 paths" in found.notices[0]
    assert found.paths["path"].tolist() == list(range(5))
    assert found.summary["totals"]["paths"] == 5
    part.unlink()
    nothing = runs.read(str(copied))
    assert (nothing.done, nothing.exhibits) == (0, ())
    assert nothing.notices == ("The run is not finished: this is about the 0 of its 16 paths that are.",)
    assert nothing.summary["totals"]["paths"] == 0
    (copied / "summary.json").write_text("{")
    assert runs.read(str(copied)).summary["totals"]["paths"] == 0


def test_paths_in_the_journal_count(finished: Path, tmp_path: Path) -> None:
    planned = study.plan(
        lronnx.load(MODEL), str(DATA), "closed", samples=PATHS // 2, anchors=4, radius=1.0, settings=study.Settings()
    )
    done = 0

    def note(progress: study.Progress) -> None:
        nonlocal done
        done = progress.done

    ended = planned.run(
        str(tmp_path / "run"), study.Crew(1), progress=note, stop=lambda: Stop.SOON if done >= 5 else Stop.NO
    )
    assert 5 <= ended.done < PATHS
    assert not list((tmp_path / "run" / "segments").glob("*"))
    found, whole = runs.read(str(tmp_path / "run")), runs.read(str(finished))
    assert found.done == ended.done
    assert found.seconds is not None
    assert found.seconds > 0
    for name in ("path", "index", "density", "absolute_deviation_norm"):
        assert found.paths[name].tolist() == whole.paths[name][: found.done].tolist()
    assert found.unit_paths == found.done
    assert found.summary["totals"]["switches_by_node"] == {
        name: int(array.sum()) for name, array in found.place_switches.items()
    }
    # A path that is in a part as well counts once; a damaged journal costs its paths only.
    [part] = (finished / "segments").iterdir()
    table = pq.read_table(part)
    placeholder = tmp_path / "run" / "segments" / "part"
    placeholder.parent.mkdir(exist_ok=True)
    placeholder.write_bytes(b"")
    rewrite(placeholder, table.filter(pa.compute.field("path") < 2))
    assert runs.read(str(tmp_path / "run")).paths["path"].tolist() == list(range(ended.done))
    for journal in (tmp_path / "run" / "journal").iterdir():
        journal.write_bytes(b"")
    assert runs.read(str(tmp_path / "run")).paths["path"].tolist() == [0, 1]


def test_the_first_layout_is_read_as_far_as_it_goes(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["format"] = 1
    del manifest["chosen"]["network"]
    (copied / "manifest.json").write_text(json.dumps(manifest))
    shutil.rmtree(copied / "exhibits")
    part = next((copied / "segments").iterdir())
    table = pq.read_table(part)
    rewrite(part, table.drop_columns(["switches_by_unit", "switches_by_place"]))
    found = runs.read(str(copied))
    assert found.done == PATHS
    assert not found.unit_switches
    assert not found.place_switches
    assert not found.metadata
    assert len(found.notices) == 2
    result = run("-o", copied, "--samples", PATHS // 2, *QUICK, code=2)
    assert "has layout 1, this lronnx knows 2" in result.stderr


def test_estimates_have_neither_switches_nor_exhibits(tmp_path: Path) -> None:
    run("-o", tmp_path / "run", "--samples", 2, *QUICK, "--estimate", 0.5)
    found = runs.read(str(tmp_path / "run"))
    assert found.estimated
    assert (found.exhibits, found.unit_switches, found.place_switches, found.notices) == ((), {}, {}, ())
    assert np.isfinite(found.paths["estimated_regions"]).all()
    assert not (tmp_path / "run" / "exhibits").exists()


def test_polylines_of_unequal_length(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "lines.npz", a=rng.random((3, 1, 8, 8)), b=rng.random((4, 1, 8, 8)))
    run(MODEL, "--data", tmp_path / "lines.npz", "--paths", "file", "-o", tmp_path / "run", "--workers", 1)
    found = runs.read(str(tmp_path / "run"))
    assert found.paths["index"].tolist() == [-1, -1]
    assert {len(one.points) for one in found.exhibits} == {3, 4}
    table = rows(tmp_path / "run")
    total = np.zeros(records.PLACES, int)
    for row in table:
        total += np.sum([counted for _, counted in row["switches_by_place"]], axis=0)
    assert {array.shape for array in found.place_switches.values()} == {(1, records.PLACES)}
    assert np.sum(list(found.place_switches.values()), axis=0).ravel().tolist() == total.tolist()


def test_a_budget_and_points_without_length(tmp_path: Path) -> None:
    images = np.zeros((3, 8, 8), np.uint8)
    images[1:, 2:5, 3:6] = 9
    np.savez(tmp_path / "data.npz", images=images)
    run(MODEL, "--data", tmp_path / "data.npz", *QUICK, "-o", tmp_path / "run", "--budget", 10)
    found = runs.read(str(tmp_path / "run"))
    # The path around the constant image has no regions to look at.
    assert sorted({one.path for one in found.exhibits}) == [1, 2]
    assert np.isnan(found.paths["density"][0])
    assert max(one.regions.num_rows for one in found.exhibits) == 40


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "is no run folder"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 2}', "is damaged"),
        ('{"format": 2, "study": 3, "paths": 1}', "is damaged"),
        ('{"format": 9, "study": {}, "paths": 1}', "layout 9"),
        ('{"format": 2, "study": {}, "paths": true}', "paths is no number"),
        ('{"format": 2, "study": {}, "paths": -1}', "paths is no number"),
        ('{"format": 2, "study": {"walk": 3}, "paths": 1}', r"study\.walk is no dict"),
        ('{"format": 2, "study": {"walk": {"seed": "x"}}, "paths": 1}', r"study\.walk\.seed is no int"),
        ('{"format": 2, "study": {}, "paths": 1, "chosen": null}', "chosen is no dict"),
        ('{"format": 2, "study": {}, "paths": 1, "chosen": {"network": null}}', r"chosen\.network is no dict"),
        (
            '{"format": 2, "study": {}, "paths": 1, "chosen": {"network": {"metadata": {"a": 1}}}}',
            "metadata.a is no str",
        ),
        ('{"format": 2, "study": {}, "paths": 1, "chosen": {"network": {"switching_nodes": [{}]}}}', "it has no label"),
        ('{"format": 2, "study": {}, "paths": 1, "sessions": ["x"]}', "a session is no dict"),
        ("[" * 100_000, "is damaged"),
    ],
)
def test_what_is_no_run(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=told):
        runs.read(str(tmp_path))


def test_a_node_whose_units_do_not_fit(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    node = manifest["chosen"]["network"]["switching_nodes"][0]
    for shape, told in (([1, 2], "do not fit its shape"), ([1, 2, 2, 2], "know more units of node_relu")):
        node["shape"], node["units"] = shape, 8
        (copied / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(InputError, match=told):
            runs.read(str(copied))


def test_places_that_are_no_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for where in (tmp_path / "file", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="is no run folder"):
            runs.read(str(where))


def test_a_damaged_part_is_told(copied: Path) -> None:
    part = next((copied / "segments").iterdir())
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(InputError, match=r"segments/part-00000-.* is damaged: the command that made the run"):
        runs.read(str(copied))


def test_the_command_is_recorded_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/x/lronnx", "analyze", "-o", "s3://bucket/run?secret_key=1", "a b"])
    assert cli._command_line() == "lronnx analyze -o s3://bucket/run 'a b'"
    run("-o", tmp_path / "run", "--samples", 1, *QUICK)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["chosen"]["command"] == cli._command_line()
    assert manifest["chosen"]["data"] == "digits_data.npz"


def test_facts_of_the_network(finished: Path) -> None:
    facts = runs.read(str(finished)).network
    network = lronnx.load(MODEL)
    assert (facts["units"], facts["outputs"]) == (network.units, 10)
    assert [(n["label"], n["operator"], n["shape"], n["units"], n["level"]) for n in facts["switching_nodes"]] == [
        (n.label, n.op_type, list(n.shape), n.units, n.level) for n in network.switching_nodes
    ]


def test_levels_of_switching_nodes_are_longest_ways() -> None:
    network = lronnx.load(MODEL)
    graph = nx.DiGraph(network.graph.to_networkx())
    switching = {node.label: node for node in network.switching_nodes}
    assert sum(node.units for node in network.switching_nodes) == network.units
    longest: dict[str, int] = {}
    for vertex in nx.topological_sort(graph):
        before = max((longest[one] for one in graph.predecessors(vertex)), default=0)
        longest[vertex] = before + (vertex in switching)
    assert {label: node.level for label, node in switching.items()} == {label: longest[label] for label in switching}
    assert max(longest.values()) > 3


def test_long_metadata_are_left_out(tmp_path: Path) -> None:
    model = onnx.load(MODEL)
    long = {
        "lronnx.corrupted_indices": "[1]",
        "lronnx.train_indices": "[1]",
        "long": "x" * 70_000,
        "note": "x" * 60_000,
    }
    for key, value in long.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, tmp_path / "model.onnx")
    run(tmp_path / "model.onnx", "--data", DATA, "--samples", 1, *QUICK, "-o", tmp_path / "run")
    metadata = runs.read(str(tmp_path / "run")).metadata
    assert metadata.keys() & long.keys() == {"note"}


def test_extremes_of_ties_and_of_few() -> None:
    def extremes(deviation: list[float], regions: list[int], count: int) -> tuple[list[int], list[int]]:
        paths = {"absolute_deviation_norm": np.array(deviation), "regions": np.array(regions)}
        return summary.extremes({**paths, "path": np.arange(10, 10 + len(deviation))}, count)

    assert extremes([1, 3, 3, 0, 0, 2], [1] * 6, 2) == ([11, 12], [13, 14])
    assert extremes([1, 3, 2], [1, 1, 1], 2) == ([11, 12], [10])
    assert extremes([1, 3, np.nan, 0], [1, 1, 1, 0], 1) == ([11], [10])
    assert extremes([], [], 2) == ([], [])
    assert extremes([1.0], [1], 0) == ([], [])


def test_per_path_of_unknown_properties(tmp_path: Path) -> None:
    run("-o", tmp_path / "run", "--samples", 2, "--paths", "random", *QUICK)
    found = runs.read(str(tmp_path / "run")).paths
    assert found["split"].tolist() == [""] * len(found["path"])
    assert set(found["label"].tolist()) == set(found["other_label"].tolist()) == {-1}
    assert set(found["class"].tolist()) == {""}


def test_a_run_behind_a_url(finished: Path, copied: Path) -> None:
    assert runs.read(copied.as_uri()).done == PATHS
    assert run_folder.FORMAT in runs.FORMATS
    assert open_data(str(DATA)).split_names
