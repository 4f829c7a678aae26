"Datasets in a real bucket: one file, a pattern, a folder of partitions; read as settings.ini says they are written."

import pandas as pd
import pytest
import s3fs
from s3_server import BUCKET, KEY, SECRET

from mlkit.data.dataset import fingerprint_dataset, read_dataset
from mlkit.errors import MissingData
from mlkit.settings import read_project

ROWS = pd.DataFrame(
    {"n": range(6), "preis": [0.1, 2.5, 1e-300, 4.0, 5.25, 6.5], "ort": ["Köln", "Zürich"] * 3}
)
SETTINGS = """
[project]
name = demo
[dataset file]
source = s3://{bucket}/{folder}/rows.csv.xz
encoding = cp1252
separator = ;
decimal = ,
[dataset pattern]
source = s3://{bucket}/{folder}/lake/**/*.parquet
[dataset lake]
source = s3://{bucket}/{folder}/lake
[dataset gone]
source = s3://{bucket}/{folder}/nothing
"""


@pytest.fixture
def project(s3, tmp_path, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    bucket = s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=s3.environment["AWS_ENDPOINT_URL"])
    place = f"{BUCKET}/{tmp_path.name}"
    ROWS.to_csv(tmp_path / "rows.csv.xz", index=False, sep=";", decimal=",", encoding="cp1252")
    ROWS.assign(jahr=[2025, 2026] * 3).to_parquet(tmp_path / "lake", partition_cols=["jahr"])
    bucket.put(str(tmp_path / "rows.csv.xz"), f"{place}/rows.csv.xz")
    bucket.put(str(tmp_path / "lake"), f"{place}/lake", recursive=True)
    (tmp_path / "settings.ini").write_text(SETTINGS.format(bucket=BUCKET, folder=tmp_path.name))
    return read_project(tmp_path)


def test_a_file_in_a_bucket_is_read_as_it_is_written_to_the_bit(project):
    rows, read = read_dataset(project, "file")
    pd.testing.assert_frame_equal(rows, ROWS, check_exact=True)
    assert fingerprint_dataset(project, "file") == read and set(read.reading) == {
        "encoding",
        "separator",
        "decimal",
    }


def test_a_folder_in_a_bucket_has_the_columns_of_its_partitions_and_a_pattern_does_not(project):
    rows, read = read_dataset(project, "lake")
    assert (
        rows.sort_values("n").jahr.tolist() == [2025, 2026] * 3
        and fingerprint_dataset(project, "lake") == read
    )
    plain, other = read_dataset(project, "pattern")
    assert (
        list(plain) == list(ROWS)
        and sorted(plain.n) == sorted(rows.n)
        and other.fingerprint != read.fingerprint
    )


def test_what_is_not_in_the_bucket_is_named(project):
    with pytest.raises(MissingData, match="nothing is at s3://"):
        read_dataset(project, "gone")
