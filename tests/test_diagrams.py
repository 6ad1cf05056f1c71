"""Omni-Emotion's Figures 2 to 6: what is drawn is what ran."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import chain, combinations, pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle
from transformers import Qwen2Config, Qwen2ForCausalLM

from reaffect import diagrams
from reaffect.curation.consistency import annotate
from reaffect.curation.figures import Passed, corpus_sizes, passed, score_histogram
from reaffect.curation.pipeline import Described
from reaffect.curation.selection import draw, score_counts, self_reviewed, sizes
from reaffect.diagrams import TITLES, Run, token_order
from reaffect.errors import InputError
from reaffect.judge import Lexicon
from reaffect.models.omni_emotion import ABLATIONS, FUSIONS, PHASES, OmniClip, OmniEmotion, OmniEmotionConfig
from reaffect.models.whisper_audio import Sound
from test_models_omni_emotion import FACIAL, HIDDEN, SMALL, VISUAL, build, clip, sound, words

pytestmark = pytest.mark.usefixtures("on_one_thread")

COUNTS = Passed(
    clips=24_137,
    described={"scene": 24_137, "face": 23_810, "audio": 22_950},
    people=41_234,
    descriptions=70_897,
    dropped=5_210,
    checked=24_100,
    annotated=24_090,
    scored=24_085,
    selected=16_652,
    left_out={"left out": 1_440, "taken": 3_500, "no score": 52, "below": 2_493},
    drawn=3_500,
    from_selected=False,
)


@pytest.fixture
def axis():
    figure = plt.figure(figsize=(10, 3))
    yield figure.add_subplot(position=(0.005, 0.01, 0.99, 0.98))
    plt.close(figure)


@pytest.fixture
def high(axis) -> Axes:
    axis.figure.set_size_inches(10, 4.5)
    return axis


@pytest.fixture(scope="module")
def models() -> dict[str, OmniEmotion]:
    return {fusion: build(fusion=fusion) for fusion in FUSIONS}


def boxes(drawn: Axes) -> list[tuple[FancyBboxPatch, list[str]]]:
    """Each box and the texts inside, from the top."""
    told = [text for text in drawn.texts if text.get_text()]
    return [(box, [text.get_text() for text in told if has(box, text.xy)]) for box in drawn.patches]


def has(box: FancyBboxPatch, place: tuple[float, float] | np.ndarray) -> bool:
    return box.get_path().contains_point(place)


def texts(drawn: Axes) -> dict[str, str]:
    """By title of a box, what else stands in it."""
    return {inside[0]: "\n".join(inside[1:]) for _, inside in boxes(drawn)}


def arrows(drawn: Axes) -> list[tuple[np.ndarray, np.ndarray]]:
    told = [text for text in drawn.texts if getattr(text, "arrow_patch", None) is not None]
    return [(np.array(text.xyann), np.array(text.xy)) for text in told]


def ends(drawn: Axes) -> set[tuple[str, str]]:
    """Which box each arrow leaves, and which it reaches, by titles."""

    def title(place: np.ndarray, step: float) -> str:
        [inside] = [own for box, own in boxes(drawn) if has(box, place + np.array([step, 0]))]
        return inside[0]

    return {(title(start, -0.05), title(end, 0.05)) for start, end in arrows(drawn)}


def cross(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    def side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
        return np.sign(round((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]), 9))

    (a, b), (c, d) = one, other
    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def check_readable(drawn: Axes) -> None:
    """No text leaves its box or meets another, no arrow crosses another or a box."""
    renderer = drawn.figure.canvas.get_renderer()
    shown = [text for text in drawn.texts if text.get_text()]
    areas = [text.get_window_extent(renderer) for text in shown]
    for text, area in zip(shown, areas, strict=True):
        assert any(
            box.x0 <= area.x0 and area.x1 <= box.x1 and box.y0 <= area.y0 and area.y1 <= box.y1
            for box in (patch.get_window_extent(renderer) for patch in drawn.patches)
        ), f"{text.get_text()!r} leaves its box"
    assert not [1 for one, other in combinations(areas, 2) if one.overlaps(other)]
    lines = arrows(drawn)
    assert lines and not [1 for one, other in combinations(lines, 2) if cross(one, other)]
    for start, end in lines:
        assert end[0] > start[0]
        for share in np.linspace(0.02, 0.98, 97):
            assert not any(has(box, start + share * (end - start)) for box in drawn.patches)


# ---- Figure 5


@pytest.fixture(scope="module")
def full_size() -> OmniEmotion:
    sizes_of = {"hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 2, "num_attention_heads": 28}
    with torch.device("meta"):
        language_model = Qwen2ForCausalLM(Qwen2Config(vocab_size=1000, num_key_value_heads=4, **sizes_of))
        return OmniEmotion(OmniEmotionConfig(fusion="cross"), language_model, words()).eval()


def test_the_papers_architecture_has_the_papers_sizes(full_size, high):
    """8 frames of 27 x 27 patches, of which 14 x 14 remain; 7 x 7 tokens a face; 30 s of sound at 60 ms a token."""
    shown = OmniClip(*(torch.empty(8, 3, side, side, device="meta") for side in (384, 224)))
    heard = Sound(torch.empty(1, 128, 3000, device="meta"), 500)
    told = texts(diagrams.architecture(full_size, shown, heard, high))
    joined = 8 * 14**2 + 1 + 8 * 7**2
    expected = {
        "tower": f"8 × {27**2} × 1152\nfrozen",
        "visual_projector": f"8 × {27**2} × 3584\nphase 3",
        "face_encoder": "8 × 49 × 256\nfrozen",
        "face_projector": "8 × 49 × 3584\nphase 2, 3",
        "face_attention": "8 × 49 × 3584\nphase 2, 3",
        "ears": f"{30_000 // 60} × 1280\nfrozen",
        "audio_projector": "500 × 3584\nphase 1, 3",
        "newline": f"{joined} × 3584\nfrozen",
        "visual_marks": f"{joined + 2} × 3584\nphase 3",
        "audio_marks": "502 × 3584\nphase 3",
        "language_model": f"{joined + 2 + 502} × 3584\nphase 3\n(soft tokens)",
    }
    assert {name: told[TITLES[name]] for name in expected} == expected
    assert (told["frames"], told["faces"], told["sound"]) == (
        "8 × 3 × 384 × 384",
        "8 × 3 × 224 × 224",
        "1 × 128 × 3000",
    )
    check_readable(high)


@pytest.mark.parametrize("changes", [*ABLATIONS.values(), {"fusion": "frame"}, {"fusion": "cross"}], ids=str)
def test_every_part_stands_there_once_with_the_phases_in_which_it_learns(changes, high):
    """As `begin` makes parts learn, not as the figure's own table says."""
    network = build(**changes)
    heard = sound(7) if network.config.audio_branch else None
    drawn = diagrams.architecture(network, clip(2), heard, high)
    told, parts = texts(drawn), dict(network.named_children())
    assert set(told) - {"frames", "faces", "sound", "question"} == {TITLES[name] for name in parts}
    assert len(told) == len(boxes(drawn))
    for phase in PHASES:
        possible = any(name in parts for name in PHASES[phase])
        learning = network.begin(phase).named_children() if possible else ()
        learn = {TITLES[name] for name, part in learning if next(part.parameters()).requires_grad}
        assert {title for title, text in told.items() if f"{phase}" in text.partition("phase")[2]} == learn
    check_readable(drawn)


def test_arrows_follow_the_data(models, high):
    told = ends(diagrams.architecture(models["cross"], clip(2), sound(7), high))
    ways = {start: {TITLES.get(end, end) for begin, end in told if begin == start} for start, _ in told}
    assert ways["visual\nprojector"] == ways["face\nprojector"] == {"frame\nembedding"}
    assert ways["frame\nembedding"] == {"cross-\nattention", "concatenation,\nend of frames"}
    assert ways["cross-\nattention"] == {"concatenation,\nend of frames"}
    assert {start for start, end in told if end == "language\nmodel"} == {
        "<vi_start>\n<vi_end>",
        "<au_start>\n<au_end>",
        "question",
    }


def test_a_clip_without_face_and_sound_is_drawn_with_what_did_not_run(models, high):
    told = texts(diagrams.architecture(models["clip"], clip(3, 0, 1, 2), None, high))
    assert told["faces"] == told["sound"] == "none"
    for part in ("face_encoder", "face_projector", "ears", "audio_projector"):
        assert told[TITLES[part]].startswith("not run")
    assert told["<au_start>\n<au_end>"].startswith(f"{2 + SMALL.absent_tokens} × {HIDDEN}")
    check_readable(high)


def test_kept_states_of_encoders_give_the_same_shapes(models):
    network, shown, heard = models["cross"], clip(3, 1), sound(23)
    with torch.no_grad():
        [seen], [listened] = network.see([shown]), network.listen([heard])
    assert diagrams.shapes(network, seen, listened) == diagrams.shapes(network, shown, heard)


def test_a_changed_network_changes_its_figure(models, high):
    changed = build(face=replace(SMALL.face, token_side=3))
    first, second = (diagrams.shapes(network, clip(2), sound(7)) for network in (models["clip"], changed))
    assert {name for name in first if first[name] != second[name]} == {
        "face_encoder",
        "face_projector",
        "newline",
        "visual_marks",
        "language_model",
    }
    assert texts(diagrams.architecture(changed, clip(2), None, high))["FaceXFormer"].startswith("2 × 9 × ")


def test_sound_for_a_deaf_network_is_refused():
    with pytest.raises(ValueError, match="no audio branch"):
        diagrams.shapes(build(audio_branch=False), clip(2), sound(7))


def test_drawing_leaves_the_network_as_it_was(models):
    network = models["cross"]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    diagrams.shapes(network, clip(2), sound(7))
    token_order(network, clip(2))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(part._forward_hooks for part in network.children())


# ---- Figure 6


@settings(max_examples=20)
@given(fusion=st.sampled_from(FUSIONS), found=st.lists(st.booleans(), min_size=1, max_size=5))
def test_the_order_of_tokens_is_figure_6s(models, fusion, found):
    order = token_order(models[fusion], clip(len(found), *(k for k, face in enumerate(found) if not face)))
    kind = "facial, after visual" if fusion == "cross" else "facial"
    frames = list(range(len(found)))
    visual = {k: [("visual", k)] * VISUAL for k in frames}
    facial = {k: [(kind, k) if found[k] else ("zeros", None)] * FACIAL for k in frames}
    end = [[("end of frames", None)]]
    together = [*visual.values(), *end, *facial.values()]
    by_frame = [part[k] for k in frames for part in (visual, facial)] + end
    expected = list(chain.from_iterable(together if fusion == "clip" else by_frame))
    assert [(run.kind, run.frame) for run in order for _ in range(run.tokens)] == expected
    assert all(one[:2] != other[:2] for one, other in pairwise(order))


def test_without_a_face_branch_there_are_frames_alone():
    assert token_order(build(face_branch=False), clip(2)) == [
        Run("visual", 0, VISUAL),
        Run("visual", 1, VISUAL),
        Run("end of frames", None, 1),
    ]


def test_another_order_in_the_network_is_another_order_in_the_figure(models, monkeypatch):
    network = models["clip"]
    before = token_order(network, clip(2))
    encode = network.encode_video
    monkeypatch.setattr(network, "encode_video", lambda clips: [tokens.flip(0) for tokens in encode(clips)])
    assert token_order(network, clip(2)) == before[::-1]


def test_tokens_that_mix_frames_are_refused(models, monkeypatch):
    network = models["frame"]
    encode = network.encode_video
    monkeypatch.setattr(network, "encode_video", lambda clips: [tokens + tokens.mean(0) for tokens in encode(clips)])
    with pytest.raises(InputError, match=r"frames \[0, 1\] at once"):
        token_order(network, clip(2))


def test_a_network_without_values_is_refused(full_size):
    with pytest.raises(InputError, match="meta device"):
        token_order(full_size, clip(2))


def test_rows_show_every_run_with_its_tokens_and_frame(models, axis):
    orders = {fusion: token_order(models[fusion], clip(3, 1)) for fusion in FUSIONS}
    drawn = diagrams.token_rows(orders, axis)
    blocks = sorted((p for p in drawn.patches if type(p) is Rectangle), key=lambda p: (-p.get_y(), p.get_x()))
    runs = [run for order in orders.values() for run in order]
    assert len(blocks) == len(runs)
    for block, run in zip(blocks, runs, strict=True):
        assert block.get_facecolor()[:3] == pytest.approx(diagrams.KINDS[run.kind])
        left, right = block.get_x(), block.get_x() + block.get_width()
        own = [t.get_text() for t in drawn.texts if left < t.get_position()[0] < right]
        assert str(run.tokens) in own
    told = [text.get_text() for text in drawn.texts]
    expected = [*FUSIONS, *(str(run.tokens) for run in runs)]
    assert sorted(told) == sorted(expected + [f"frame {run.frame + 1}" for run in runs if run.frame is not None])
    assert {text.get_text() for text in drawn.get_legend().get_texts()} == {run.kind for run in runs}


def test_no_order_is_refused(axis):
    with pytest.raises(InputError, match="no order of tokens"):
        diagrams.token_rows({}, axis)


# ---- Figure 2


def curated() -> tuple[Described, pd.DataFrame, pd.DataFrame]:
    """Six clips: one contradicts itself in its scene, one has no face, one nothing at all."""
    table = pd.DataFrame(
        {
            "corpus": ["dfew", "dfew", "dfew", "mafw", "mafw", "ravdess"],
            "clip": ["1", "2", "3", "1", "2", "9"],
            "media": list("abcdef"),
            "coarse": ["sad", "happy", "happy", "sad", "angry", "sad"],
            "scene": ["A happy feast.", "A happy man.", "A sad day.", "A sad day.", None, "A sad wall."],
            "face": ["A sad face.", None, "A sad face.", "A sad face.", None, "A sad face."],
            "audio": ["A sad voice.", "A happy voice.", "A sad voice.", "A sad voice.", None, "A sad voice."],
        }
    )
    people = pd.DataFrame({"clip": list("aacdf")})
    described = Described(table, people, pd.DataFrame(columns=["clip", "step", "problem"]))
    annotated = annotate(Lexicon(), table)
    return described, annotated, self_reviewed(annotated)


def test_counts_of_a_curation_are_those_of_its_tables():
    described, annotated, selected = curated()
    assert passed(described, annotated, selected) == Passed(
        clips=6,
        described={"scene": 5, "face": 4, "audio": 5},
        people=5,
        descriptions=14,
        dropped=1,
        checked=6,
        annotated=5,
        scored=5,
        selected=3,
        left_out={"left out": 1, "no score": 1, "below": 1},
        drawn=None,
        from_selected=False,
    )


def test_where_the_draw_comes_from_is_told_from_the_clips():
    described, annotated, selected = curated()
    inside = passed(described, annotated, selected, draw(selected, 1))
    assert (inside.drawn, inside.from_selected) == (2, True)
    taken = annotated.iloc[[0, 4]]
    apart = passed(described, annotated, annotated.pipe(without, taken), taken)
    assert (apart.drawn, apart.from_selected) == (2, False)


def without(annotated: pd.DataFrame, taken: pd.DataFrame) -> pd.DataFrame:
    """Of clips named alike in two corpora, those that stay."""
    rest = annotated.drop(index=taken.index)
    selected = self_reviewed(rest)
    selected.attrs["counts"]["taken"] = len(taken)
    return selected


def test_tables_of_several_curations_are_refused():
    described, annotated, selected = curated()
    with pytest.raises(InputError, match="not the same ones"):
        passed(described, annotated[1:], selected)
    with pytest.raises(InputError, match="3 self-reviewed clips and 0 left out do not make 6"):
        bare = selected.copy()
        bare.attrs = {}
        passed(described, annotated, bare)
    with pytest.raises(InputError, match="1 of 2 clips for human review"):
        passed(described, annotated, selected, pd.concat([selected[:1], annotated[4:5]]))
    with pytest.raises(InputError, match="1 were never annotated"):
        passed(described, annotated, selected, selected[:1].assign(clip="unknown"))


@pytest.mark.parametrize("inside", [True, False, None])
def test_the_pipeline_shows_its_counts(inside, axis):
    counts = COUNTS._replace(from_selected=bool(inside), drawn=None if inside is None else 3_500)
    drawn = diagrams.curation(counts, axis)
    told = texts(drawn)
    assert told["clips"] == "24,137" and told["SRE"] == "16,652 clips"
    assert told["faces"] == "23,810 of 24,137 clips\n41,234 people"
    assert told["scene"] == "24,137 of 24,137 clips" and told["sound"] == "22,950 of 24,137 clips"
    assert "5,210 of\n70,897 descriptions" in told["consistency"] and "24,100 clips" in told["consistency"]
    assert told["reason, labels,\nintensity"] == "24,090 clips"
    assert "24,085 clips" in told["agreement\nwith the label"]
    assert told["not selected"] == "left out: 1,440\ntaken: 3,500\nno score: 52\nbelow: 2,493"
    expected = {True: {("SRE", "HRE")}, False: {("agreement\nwith the label", "HRE")}, None: set()}[inside]
    assert {pair for pair in ends(drawn) if pair[1] == "HRE"} == expected
    assert told.get("HRE") == (None if inside is None else "3,500 clips\nfor people")
    check_readable(drawn)


def test_where_every_clip_is_selected_that_is_said(axis):
    assert texts(diagrams.curation(COUNTS._replace(left_out={}), axis))["not selected"] == "none"


# ---- Figures 3 and 4


def scored(scores, corpora):
    return pd.DataFrame({"corpus": corpora, "clip": [str(k) for k in range(len(scores))], "score": scores})


def test_bars_are_clips_at_each_score_and_the_threshold_parts_them(axis):
    table = scored([0, 4, 5, 5, 10, 10, 10, math.nan], ["dfew", "mafw", "dfew", "mafw", "mafw", "mafw", "dfew", "dfew"])
    drawn = score_histogram(score_counts(table), axis)
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in drawn.containers}
    assert heights == {"dfew (3)": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], "mafw (4)": [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 2]}
    [line] = drawn.lines
    assert line.get_label() == "stays from 5"
    for bars in drawn.containers:
        sides = [bar.get_x() + bar.get_width() <= line.get_xdata()[0] for bar in bars]
        assert sides == [score < 5 for score in range(11)]
    assert [tick.get_text() for tick in drawn.get_xticklabels()] == [str(score) for score in range(11)]
    lefts = sorted((bar.get_x(), bar.get_width()) for bars in drawn.containers for bar in bars)
    assert all(x + width <= after + 1e-9 for (x, width), (after, _) in pairwise(lefts))


def test_another_threshold_is_another_line(axis):
    counts = score_counts(scored([3.0, 8.0], ["dfew"] * 2))
    assert score_histogram(counts, axis, threshold=7.5).lines[0].get_xdata()[0] == 7.5


def test_no_score_cannot_be_drawn(axis):
    with pytest.raises(InputError, match="No clip has a score"):
        score_histogram(score_counts(scored([math.nan], ["dfew"])), axis)


def test_sizes_are_bars_with_numbers_and_shares(axis):
    """The paper's six, as its caption has them."""
    told = {"ferv39k": 10_302, "mafw": 5_006, "dfew": 3_700, "caer": 2_903, "afew_va": 1_176, "mer24": 1_050}
    table = pd.DataFrame({"corpus": np.repeat(list(told), list(told.values()))})
    drawn = corpus_sizes(sizes(table), axis)
    assert [bar.get_width() for bar in drawn.patches] == list(told.values())
    assert [tick.get_text() for tick in drawn.get_yticklabels()] == list(told)
    assert [text.get_text() for text in drawn.texts][:2] == ["10,302 (43%)", "5,006 (21%)"]
    assert "24,137 in all" in drawn.get_xlabel()
    places = [bar.get_y() for bar in drawn.patches]
    assert places == sorted(places, reverse=True)


def test_no_clips_cannot_be_drawn(axis):
    with pytest.raises(InputError, match="No clip was selected"):
        corpus_sizes(sizes(scored([], [])), axis)
