"What is said of a host without room: where, how much is left, and how much is lacking."

import errno
import os
import subprocess

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import full_disk

PLACE = "on the host, {} has 0.0 MB free"
TO_DO = "; free some there, or keep fewer releases (service_keep_releases)"


@pytest.fixture
def full(tmp_path):
    "A folder on a disk of a megabyte, with nothing left."
    if os.geteuid():
        pytest.skip("a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    with pytest.raises(OSError, match="No space"):
        (disk / "much").write_bytes(bytes(2_000_000))
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_write_that_found_no_room_names_the_folder_and_what_is_left(full):
    with pytest.raises(OSError) as refused:  # a write does not say of which file it was
        (full / "lock.json").write_bytes(bytes(100))
    words = full_disk.why_not_written(refused.value, str(full), "the lock cannot be written")
    assert words == "disk full: " + PLACE.format(full) + TO_DO


def test_what_is_lacking_is_told_where_it_is_known(full):
    words = full_disk.disk_full(str(full / "flights/incoming"), 2_500_000)
    expected = PLACE.format(full) + " of the 2.5 MB that are needed: 2.5 MB are lacking" + TO_DO
    assert words == "disk full: " + expected


def test_another_reason_is_not_called_a_full_disk():
    error = PermissionError(errno.EACCES, "Permission denied", "/var/lib/mlkit")
    words = full_disk.why_not_written(error, "/var/lib", "the lock cannot be written")
    assert words == "the lock cannot be written: [Errno 13] Permission denied: '/var/lib/mlkit'"


@pytest.mark.parametrize("name", ["unfinished", 3, None])
def test_a_name_that_is_no_whole_path_ends_the_search_for_its_disk(tmp_path, name):
    error = OSError(errno.ENOSPC, "No space left on device", name)
    words = full_disk.why_not_written(error, str(tmp_path), "the lock cannot be written")
    assert words.startswith(f"disk full: on the host, {'/' if name == 'unfinished' else tmp_path} has ")
