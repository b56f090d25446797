"""The table of a sweep and its curves: what is written is read back, what is wrong is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_sweep import network, sweep, written

from models.results import COLUMNS, GROUPS, MEASURES, curves, family_of, read, write

# --- the table ------------------------------------------------------------------------------------------------


def test_columns() -> None:
    assert COLUMNS[:4] == ("architecture", "width", "seed", "epoch")
    assert COLUMNS[11:13] == ("paths_train_clean", "density_train_clean")
    assert COLUMNS[-1] == "local_similarity_test"
    assert len(set(COLUMNS)) == len(COLUMNS) == 11 + len(GROUPS) * len(MEASURES)


def test_round_trip(tmp_path: Path) -> None:
    rows = list(sweep(2, groups=["test"]))
    rows[3] |= {"train_loss": np.float64(0.1) + 0.2, "units": np.int64(14), "test_loss": math.nan}
    read = written(tmp_path, rows)
    assert read.architectures == tuple(row["architecture"] for row in rows)
    for column in COLUMNS[1:]:
        expected = [math.nan if row.get(column) is None else float(row[column]) for row in rows]
        np.testing.assert_array_equal(read[column], expected)
    assert len((tmp_path / "r.csv").read_text().splitlines()) == len(read) + 1 == 19


def test_writing_the_same_again_gives_the_same_bytes(tmp_path: Path) -> None:
    read = written(tmp_path, sweep(2))
    columns = {"architecture": read.architectures, **read.values}
    again = [{name: values[row] for name, values in columns.items()} for row in range(len(read))]
    for row in again:
        row |= {name: int(row[name]) for name in ("width", "seed", "epoch", "parameters")}
        row |= {f"paths_{group}": int(row[f"paths_{group}"]) for group in GROUPS}
    write(tmp_path / "again.csv", again)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "r.csv").read_bytes()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("train_accuracy", 1.5, "train_accuracy is 1.5, not a share from 0 to 1"),
        ("test_accuracy", -0.1, "test_accuracy is -0.1, not a share from 0 to 1"),
        ("width", 2.5, "width is 2.5, not a whole number from 0 on"),
        ("epoch", -1, "epoch is -1, not a whole number from 0 on"),
        ("density_test", "many", "density_test is 'many', not a number"),
        ("density_test", math.inf, "density_test is inf; leave the cell empty if the value is unknown"),
        ("density_test", -1.0, "density_test is -1.0, less than 0"),
        ("local_similarity_test", 1.1, "local_similarity_test is 1.1, not a cosine"),
        ("seed", None, "the seed is missing"),
        ("architecture", "", "the architecture is missing"),
    ],
)
def test_wrong_values_are_refused_with_their_line(tmp_path: Path, column: str, value: Any, message: str) -> None:
    path = tmp_path / "r.csv"
    with pytest.raises(ValueError, match="line 3") as caught:
        write(path, [network(), network(seed=1) | {column: value}])
    assert str(caught.value) == f"{path}, line 3: {message}"
    assert list(tmp_path.iterdir()) == []


def test_a_network_twice(tmp_path: Path) -> None:
    rows = [network(), network(epoch=10), network("mlp_9_9"), network(seed=1), network(epoch=10)]
    written(tmp_path, rows[:-1])
    with pytest.raises(ValueError, match=r"r.csv, line 6: the same architecture, epoch and seed as line 3$"):
        written(tmp_path, rows)


def test_what_is_refused_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    write(path, [network()])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"row 2 of .*r\.csv has no such column: deviation$"):
        write(path, [network(), network(seed=1, deviation=3)])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "r.csv", [network()])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: lacks the columns architecture"),
        (b"architecture,width\n", "line 1: lacks the columns seed, epoch"),
        ((",".join([*COLUMNS, "gpu"]) + "\n").encode(), "line 1: unknown columns gpu"),
        ((",".join(reversed(COLUMNS)) + "\n").encode(), "line 1: the columns must be, in this order, arch"),
        ((",".join(COLUMNS) + "\n").encode(), "has no row"),
        ((",".join(COLUMNS) + "\nmlp,1,2\n").encode(), "line 2: 3 cells, not 32"),
        ((",".join(COLUMNS) + '\n"mlp,1,2\n').encode(), "line 2: unexpected end of data"),
        (b"\xff\xfe", "is not a CSV file in UTF-8"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"r\.csv") as caught:
        read(path)
    assert message in str(caught.value)


# --- curves ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "family"),
    [
        ("mlp_20_20", "mlp_w_w"),
        ("resnet18_w16", "resnet18_w"),
        ("cnn5_w8_max", "cnn5_w_max"),
        ("vgg8_a16", "vgg8_a"),
        ("vgg11", "vgg11"),
    ],
)
def test_family(architecture: str, family: str) -> None:
    assert family_of(architecture) == family


def test_curve(tmp_path: Path) -> None:
    rows = [network(f"mlp_{w}", width=w, seed=s, test_accuracy=0.5 + w / 10 + s / 100) for s in (4, 1) for w in (3, 2)]
    [curve] = curves(written(tmp_path, rows[1:]))
    assert (curve.family, curve.x_column) == ("mlp_w", "width")
    np.testing.assert_array_equal(curve.x, [2, 3])
    np.testing.assert_array_equal(curve.seeds, [1, 4])
    np.testing.assert_allclose(curve.values["test_error"], [[0.29, 0.19], [0.26, math.nan]])
    assert curve.groups("density") == ()


def test_the_x_axis_is_what_varies(tmp_path: Path) -> None:
    epochs = [network(epoch=epoch, seed=seed) for epoch in (0, 1, 5) for seed in (0, 1)]
    [curve] = curves(written(tmp_path, epochs))
    assert (curve.x_column, curve.family, curve.x.tolist()) == ("epoch", "mlp_8_8", [0, 1, 5])
    # Networks that stopped early, each at its own epoch, are no sweep over epochs.
    stopped = [network(f"mlp_{width}", width=width, epoch=100 - width) for width in (2, 3)]
    [curve] = curves(written(tmp_path, stopped))
    assert (curve.x_column, curve.last_checkpoints) == ("width", False)

    both = [*epochs, network("mlp_9_9", width=9)]
    read = written(tmp_path, both)
    with pytest.raises(ValueError, match="both width and epoch vary: say with --x"):
        curves(read)
    [curve] = curves(read, x="width")
    assert curve.last_checkpoints
    np.testing.assert_array_equal(curve.values["epoch"], [[5, 400], [5, math.nan]])
    assert [curve.family for curve in curves(read, x="epoch")] == ["mlp_8_8", "mlp_9_9"]
    [curve] = curves(read, x="epoch", family="mlp_9_9")
    assert curve.x.tolist() == [400]


def test_curves_that_cannot_be_told(tmp_path: Path) -> None:
    read = written(tmp_path, [network("mlp_8_8"), network("mlp_8_9")])
    with pytest.raises(ValueError, match="mlp_8_8 and mlp_8_9, seed 0, have the same width, 8"):
        curves(read)
    with pytest.raises(ValueError, match="mlp_8_8, seed 0: the parameters, which is the x axis, is unknown"):
        curves(read, x="parameters")
    with pytest.raises(ValueError, match="'units', not one of width, epoch, parameters"):
        curves(read, x="units")
    with pytest.raises(ValueError, match="no family 'cnn'; there are mlp_w_w"):
        curves(read, family="cnn")
    read = written(tmp_path, [network(f"vgg{depth}") for depth in range(5)])
    with pytest.raises(ValueError, match=r"5 families are more than the 4 .* --family: vgg0, vgg1"):
        curves(read)
