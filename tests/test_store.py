from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pyarrow.feather as feather
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reaffect.errors import InputError
from reaffect.fingerprint import clip_key, fingerprint
from reaffect.store import Store

relaxed = settings(deadline=None, derandomize=True)  # a busy machine is no failure


class Counted:
    """A function of items that remembers what it was asked for."""

    def __init__(self, one=lambda item: f"value of {item}"):
        self.one = one
        self.asked = []

    def __call__(self, batch):
        self.asked += batch
        return [self.one(item) for item in batch]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


# ---- computed once


def test_only_what_is_missing_is_computed(store):
    first, second = Counted(), Counted()
    store.compute("answers", {"prompt": 1}, ["a", "b", "c"], first, batch_size=2)
    values = store.compute("answers", {"prompt": 1}, ["d", "b", "a"], second, batch_size=2).values
    assert first.asked == ["a", "b", "c"]
    assert second.asked == ["d"]
    assert list(values.items()) == [("d", "value of d"), ("b", "value of b"), ("a", "value of a")]


def test_batches_have_the_size_asked_for_and_an_item_asked_twice_is_computed_once(store):
    sizes = []
    result = store.compute(
        "answers",
        {},
        ["a", "b", "a", "c", "d", "e"],
        lambda batch: sizes.append(len(batch)) or batch,
        batch_size=2,
    )
    assert sizes == [2, 2, 1]
    assert list(result.values) == ["a", "b", "c", "d", "e"]


def test_batches_may_be_cut_by_what_items_are_and_results_stay_in_the_order_asked(store):
    store.compute("answers", {}, ["bb"], Counted(), batch_size=1)
    seen, cuttings = [], []

    def longest_first(items):
        cuttings.append(items)
        return [[2], [0, 1]]

    function = lambda batch: seen.append(batch) or [f"value of {item}" for item in batch]  # noqa: E731
    computed = store.compute("answers", {}, ["a", "bb", "c", "ddd"], function, batch_size=longest_first)
    assert cuttings == [["a", "c", "ddd"]], "what is stored is not cut"
    assert seen == [["ddd"], ["a", "c"]]
    assert list(computed.values) == ["a", "bb", "c", "ddd"]


def test_another_recipe_or_name_never_reads_these_values(store):
    recipe = {"model": "small", "options": {"temperature": 0.0, "frames": 8}}
    store.compute("answers", recipe, ["a"], lambda batch: ["old"], batch_size=1)
    for name, changed in [
        ("answers", recipe | {"model": "large"}),
        ("answers", recipe | {"options": {"temperature": 0.0, "frames": 9}}),
        ("answers", recipe | {"seed": 0}),
        ("judgements", recipe),
    ]:
        assert store.compute(name, changed, ["a"], lambda batch: ["new"], batch_size=1).values == {"a": "new"}
    same = {"options": {"frames": 8, "temperature": 0.0}, "model": "small"}
    assert store.compute("answers", same, ["a"], lambda batch: ["new"], batch_size=1).values == {"a": "old"}


def test_the_recipe_lies_beside_the_values(store):
    recipe = {"model": "small", "frames": 8}
    store.compute("answers", recipe, ["a"], Counted(), batch_size=1)
    assert json.loads((store.folder("answers", recipe) / "recipe.json").read_text()) == recipe


# ---- values survive as they are

texts = st.text(max_size=40)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts


@relaxed
@given(values=st.dictionaries(texts, texts, max_size=8), batch_size=st.integers(1, 4))
def test_texts_come_back(tmp_path_factory, values, batch_size):
    assert round_trip(tmp_path_factory, values, batch_size) == values


@relaxed
@given(values=st.dictionaries(texts, st.dictionaries(texts, scalars, max_size=4), max_size=8))
def test_records_come_back(tmp_path_factory, values):
    assert round_trip(tmp_path_factory, values, 3) == values


@relaxed
@given(
    keys=st.lists(texts, unique=True, min_size=1, max_size=8),
    width=st.integers(1, 5),
    numbers=st.lists(st.floats(width=32), min_size=40, max_size=40),
)
def test_vectors_come_back_as_float32(tmp_path_factory, keys, width, numbers):
    vectors = np.resize(np.array(numbers, np.float32), (len(keys), width))
    read = round_trip(tmp_path_factory, dict(zip(keys, vectors, strict=True)), 3)
    assert list(read) == keys
    assert all(vector.dtype == np.float32 for vector in read.values())
    np.testing.assert_array_equal(np.stack(list(read.values())), vectors)


def round_trip(tmp_path_factory, values, batch_size):
    """Written by one store, read by another, which computes nothing."""
    folder = tmp_path_factory.mktemp("store")
    Store(folder).compute("values", {}, values, lambda batch: [values[key] for key in batch], batch_size=batch_size)
    return Store(folder).compute("values", {}, values, lambda batch: 1 / 0, batch_size=batch_size).values


def test_nan_in_a_record_comes_back(store):
    store.compute("scores", {}, ["a"], lambda batch: [{"fear": math.nan}], batch_size=1)
    assert math.isnan(store.compute("scores", {}, ["a"], Counted(), batch_size=1).values["a"]["fear"])


@pytest.mark.parametrize(
    "values", [["text", {"a": 1}], [np.zeros(2), np.zeros(3)], [np.zeros((2, 2, 2))], [np.zeros((2, 2)), np.zeros(2)]]
)
def test_values_of_different_kinds_are_refused(store, values):
    with pytest.raises((TypeError, ValueError)):
        store.compute("mixed", {}, ["a", "b"], lambda batch: values, batch_size=2)


def test_a_function_that_loses_an_item_is_refused(store):
    with pytest.raises(ValueError, match="2 items went into the function, 1 values came out"):
        store.compute("lossy", {}, ["a", "b"], lambda batch: ["one"], batch_size=2)


# ---- problems


def unreadable_b(item):
    return InputError(f"{item}.mp4: cut off; download it again.") if item == "b" else f"value of {item}"


def test_a_bad_item_is_listed_and_the_others_finish(store):
    result = store.compute("answers", {}, ["a", "b", "c"], Counted(unreadable_b), batch_size=2)
    assert result.values == {"a": "value of a", "c": "value of c"}
    assert result.problems == {"b": "b.mp4: cut off; download it again."}


def test_a_bad_item_is_tried_again(store):
    store.compute("answers", {}, ["a", "b", "c"], Counted(unreadable_b), batch_size=2)
    mended = Counted()
    result = store.compute("answers", {}, ["a", "b", "c"], mended, batch_size=2)
    assert mended.asked == ["b"]
    assert list(result.values) == ["a", "b", "c"]
    assert result.problems == {}


def test_strict_raises_and_keeps_what_was_computed(store):
    with pytest.raises(InputError, match="cut off"):
        store.compute("answers", {}, ["a", "b", "c"], Counted(unreadable_b), batch_size=2, strict=True)
    later = Counted()
    store.compute("answers", {}, ["a", "b", "c"], later, batch_size=2)
    assert later.asked == ["b", "c"]


def test_a_replaced_clip_is_computed_anew_and_a_moved_one_is_not(store, tmp_path):
    clip, lost = tmp_path / "clip.mp4", tmp_path / "lost.mp4"
    clip.write_bytes(b"first")
    result = store.compute("answers", {}, [clip, lost], lambda batch: ["old"] * len(batch), batch_size=2, key=clip_key)
    assert result.values == {clip: "old"}
    assert list(result.problems) == [lost]
    assert "lost.mp4" in result.problems[lost]

    moved = tmp_path / "elsewhere" / "clip.mp4"
    moved.parent.mkdir()
    moved.write_bytes(b"first")
    clip.write_bytes(b"other")  # as long as before
    os.utime(clip, ns=(0, 0))
    result = store.compute("answers", {}, [clip, moved], lambda batch: ["new"] * len(batch), batch_size=2, key=clip_key)
    assert result.values == {clip: "new", moved: "old"}


def test_copies_of_a_bad_clip_are_all_listed(store, tmp_path):
    copies = [tmp_path / folder / "clip.mp4" for folder in "ab"]
    for copy in copies:
        copy.parent.mkdir()
        copy.write_bytes(b"the same")
    result = store.compute("answers", {}, copies, lambda batch: [InputError("bad")], batch_size=2, key=clip_key)
    assert result.problems == dict.fromkeys(copies, "bad")


# ---- kills, halves and neighbours

WORKER = """
    import sys
    import pyarrow.feather as feather
    from reaffect.store import Store

    def function(batch):
        {each_batch}
        return [f"{name} {{item}}" for item in batch]

    {before}
    Store(sys.argv[1]).compute("answers", {{}}, sys.argv[2].split(), function, batch_size=2)
"""


def worker(folder, items, name, each_batch="pass", before="pass") -> subprocess.Popen:
    """Another process that fills the store; it tells of itself on stdout and listens on stdin."""
    script = textwrap.dedent(WORKER.format(name=name, each_batch=each_batch, before=before))
    command = [sys.executable, "-c", script, str(folder), " ".join(items)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kill_when_it_says_so(process: subprocess.Popen) -> None:
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_a_kill_in_a_batch_loses_this_batch_only(tmp_path):
    third = "if 'e' in batch: print('now', flush=True); sys.stdin.read()"
    kill_when_it_says_so(worker(tmp_path, "abcdefgh", "killed", each_batch=third))
    later = Counted()
    values = Store(tmp_path).compute("answers", {}, list("abcdefgh"), later, batch_size=2).values
    assert later.asked == list("efgh")
    assert [values[item] for item in "abcdefgh"] == [f"killed {i}" for i in "abcd"] + [f"value of {i}" for i in "efgh"]


def test_a_kill_within_a_write_leaves_nothing_that_is_read(tmp_path):
    half = """
    whole = feather.write_feather
    def write_half(table, path, **options):
        whole(table, path, **options)
        if "c" in table["key"].to_pylist():
            with open(path, "r+b") as file:
                file.truncate(path.stat().st_size // 2)
            print("now", flush=True)
            sys.stdin.read()
    feather.write_feather = write_half
    """
    kill_when_it_says_so(worker(tmp_path, "abcdef", "killed", before=textwrap.dedent(half).replace("\n", "\n    ")))
    later = Counted()
    values = Store(tmp_path).compute("answers", {}, list("abcdef"), later, batch_size=2).values
    assert later.asked == list("cdef")
    assert list(values) == list("abcdef")


def test_two_processes_fill_one_folder_without_loss(tmp_path):
    """Both are made to stand in their first batch at the same time, with half of their items in common."""
    meet = "print('in a batch', flush=True); sys.stdin.readline()"
    workers = [
        worker(tmp_path, "abcdef", "one", each_batch=meet),
        worker(tmp_path, "cdefgh", "two", each_batch=meet),
    ]
    for _ in range(3):
        for process in workers:
            assert process.stdout.readline() == "in a batch\n"
        for process in workers:
            process.stdin.write("go on\n")
            process.stdin.flush()
    for process in workers:
        process.communicate()
        assert process.returncode == 0
    nothing_to_do = Counted()
    values = Store(tmp_path).compute("answers", {}, list("abcdefgh"), nothing_to_do, batch_size=2).values
    assert nothing_to_do.asked == []
    assert all(values[item] in (f"one {item}", f"two {item}") for item in "abcdefgh")
    assert Store(tmp_path).compute("answers", {}, list("abcdefgh"), nothing_to_do, batch_size=2).values == values


def test_a_shard_that_a_disk_cut_in_half_is_computed_again(store, caplog):
    store.compute("answers", {}, list("abcdef"), Counted(), batch_size=2)
    shards = sorted(store.folder("answers", {}).glob("*.arrow"))
    shards[1].write_bytes(shards[1].read_bytes()[:100])
    later = Counted()
    values = store.compute("answers", {}, list("abcdef"), later, batch_size=2).values
    assert later.asked == ["c", "d"]
    assert list(values) == list("abcdef")
    assert shards[1].name in caplog.text


def test_arrays_lie_in_arrow_files_as_lists_of_float32(store):
    store.compute("embeddings", {}, ["a", "b"], lambda batch: [np.ones(3)] * 2, batch_size=2)
    [shard] = store.folder("embeddings", {}).glob("*.arrow")
    table = feather.read_table(shard)
    assert str(table.schema.field("vector").type).startswith("fixed_size_list<item: float")
    assert table.to_pandas()["vector"].iloc[0].tolist() == [1, 1, 1]


@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=6), width=st.integers(1, 4), batch_size=st.integers(1, 4)
)
def test_matrices_of_any_length_come_back(tmp_path_factory, lengths, width, batch_size):
    arrays = [np.random.default_rng(k).normal(size=(n, width)).astype(np.float32) for k, n in enumerate(lengths)]
    store = Store(tmp_path_factory.mktemp("store"))
    asked = range(len(arrays))
    computed = store.compute("features", {}, asked, lambda batch: [arrays[k] for k in batch], batch_size=batch_size)
    for k in asked:
        np.testing.assert_array_equal(computed.values[k], arrays[k])
        assert computed.values[k].dtype == np.float32


def test_arrays_are_mapped_not_copied(store):
    value = store.compute("features", {}, "a", lambda batch: [np.ones((4, 3))], batch_size=1).values["a"]
    assert not value.flags.owndata and not value.flags.writeable


def test_the_next_batch_is_prepared_while_this_one_is_computed(store):
    """The function waits for the last item of the next batch: without reading ahead it would wait in vain."""
    ready = {item: threading.Event() for item in "abcd"}

    def prepare(item):
        ready[item].set()
        return item.upper()

    def function(batch):
        assert ready["d"].wait(timeout=60)
        return batch

    computed = store.compute("answers", {}, list("abcd"), function, batch_size=2, prepare=prepare)
    assert computed.values == {item: item.upper() for item in "abcd"}


def test_an_item_that_cannot_be_prepared_is_listed_and_the_others_finish(store):
    def prepare(item):
        if item == "b":
            raise InputError("b.mp4: no such file")
        return item

    asked = []
    function = lambda batch: asked.extend(batch) or batch  # noqa: E731
    computed = store.compute("answers", {}, list("abc"), function, batch_size=2, prepare=prepare)
    assert computed.problems == {"b": "b.mp4: no such file"}
    assert asked == ["a", "c"]
    with pytest.raises(InputError, match="no such file"):
        store.compute("answers", {}, list("abc"), function, batch_size=2, prepare=prepare, strict=True)


# ---- fingerprints

plain = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@relaxed
@given(thing=plain, other=plain)
def test_fingerprints_are_equal_just_for_equal_things(thing, other):
    same = json.dumps(thing, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(thing) == fingerprint(other)) == same


def test_fingerprints_tell_types_and_places_apart():
    things = [
        1,
        1.0,
        True,
        "1",
        [1],
        None,
        "",
        0,
        np.zeros(2),
        np.zeros(2, np.float32),
        np.zeros((2, 1)),
        [0.0, 0.0],
    ]
    assert len({fingerprint(thing) for thing in things}) == len(things)
    assert len({fingerprint("a", "bc"), fingerprint("ab", "c"), fingerprint(["a", "bc"])}) == 3
    assert fingerprint(np.float64(0.5), np.int64(3)) == fingerprint(0.5, 3)
    assert fingerprint((1, 2)) == fingerprint([1, 2])


def test_a_fingerprint_is_the_same_on_every_machine():
    assert fingerprint({"model": "small", "frames": 8, "values": [0.1, None]}) == "28e2787b0bdfb4eb"


def test_a_path_stands_for_its_content(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "weights").mkdir(parents=True)
        (tmp_path / name / "weights" / "a.bin").write_bytes(b"12")
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")
    before = fingerprint(tmp_path / "two")
    (tmp_path / "two" / "weights" / "a.bin").rename(tmp_path / "two" / "weights" / "b.bin")
    assert fingerprint(tmp_path / "two") != before
    (tmp_path / "one" / "weights" / "a.bin").write_bytes(b"21")
    os.utime(tmp_path / "one" / "weights" / "a.bin", ns=(0, 0))
    assert fingerprint(tmp_path / "one") != before
    with pytest.raises(InputError, match=r"nowhere: cannot be read \(No such file"):
        fingerprint(tmp_path / "nowhere")


@pytest.mark.parametrize("thing", [len, {1: "a"}, {"a"}, object(), b"bytes", np.array([None])])
def test_what_has_no_content_has_no_fingerprint(thing):
    with pytest.raises(TypeError, match="no fingerprint"):
        fingerprint({"option": thing})
