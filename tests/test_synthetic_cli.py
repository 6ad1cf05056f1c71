"""`python -m reaffect.synthetic`: builds what it is told, and says a user's mistake in one line."""

from __future__ import annotations

from reaffect import paths
from reaffect.errors import InputError
from reaffect.synthetic import __main__ as command
from reaffect.synthetic import dfew, hume, video_llama, video_llava, video_nets


def test_builds_where_and_with_as_many_workers_as_told(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(hume, "build", lambda root, workers: calls.append((root, workers)))
    monkeypatch.setattr(video_llava, "build", lambda folder, workers: calls.append((folder, workers)))
    assert command.main(["hume", "--root", str(tmp_path), "--workers", "3"]) == 0
    assert command.main(["video-llava", "--folder", str(tmp_path / "c")]) == 0
    assert calls == [(tmp_path, 3), (tmp_path / "c", 2)]


def test_networks_are_built_where_told(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(video_nets, "build", lambda folder, workers: calls.append((folder, workers)))
    monkeypatch.setattr(video_llama, "build", lambda root, **options: calls.append((root, options)))
    assert command.main(["video-nets", "--folder", str(tmp_path / "n"), "--workers", "1"]) == 0
    assert command.main(["video-nets"]) == 0
    assert command.main(["video-llama", "--root", str(tmp_path), "--smollm2", str(tmp_path / "s")]) == 0
    assert calls == [
        (tmp_path / "n", 1),
        (paths.CHECKPOINTS / "video-nets-tiny", 2),
        (tmp_path, {"smollm2": tmp_path / "s", "workers": 2}),
    ]


def test_a_corpus_in_which_something_tells_nothing(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(dfew, "build", lambda root, **options: calls.append((root, options)))
    assert command.main(["dfew", "--root", str(tmp_path), "--uninformative", "face", "voice"]) == 0
    assert calls == [(tmp_path, {"uninformative": ["face", "voice"], "workers": 2})]


def test_a_users_mistake_is_one_line(tmp_path, monkeypatch, capsys):
    def fail(root, workers):
        raise InputError(f"{root}: no room. Free some.")

    monkeypatch.setattr(hume, "build", fail)
    assert command.main(["hume", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{tmp_path}: no room. Free some.\n"
