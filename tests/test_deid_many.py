"""A folder of videos de-identified: counted, resumed, and honest about what could not be read."""

from __future__ import annotations

import pytest

from reaffect import deid
from reaffect.corpora import eald
from reaffect.deid.record import NO_FACE
from reaffect.errors import InputError


@pytest.fixture(scope="module")
def sources(eald_root):
    return eald.load(eald_root).media.tolist()[:2]


def test_every_readable_video_is_done_once(sources, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"")
    first = deid.deidentify_all([*sources, broken], tmp_path / "made", interval_s=3.0, smallest_face=0.3)
    assert list(first.records) == sources and list(first.problems) == [str(broken)]
    counts = first.counts()
    assert counts.sum() == sum(record.frames for record in first.records.values())
    assert counts[counts.index != NO_FACE].sum() > 0
    before = {record.video: record.video.stat().st_mtime_ns for record in first.records.values()}
    again = deid.deidentify_all(sources, tmp_path / "made", interval_s=3.0, smallest_face=0.3)
    assert {record.video: record.video.stat().st_mtime_ns for record in again.records.values()} == before
    assert again.records == first.records


def test_two_files_of_one_name_cannot_share_a_folder(sources, tmp_path):
    with pytest.raises(InputError, match="two sources"):
        deid.deidentify_all([sources[0], tmp_path / "other" / "0.mp4"], tmp_path / "made")
    assert not (tmp_path / "made").exists()
