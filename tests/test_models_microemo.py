"""MicroEmo: sizes, released files, what each part may and may not see, batches beside loops, and parts switched off."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, masking_utils

from reaffect.models.dialogue_clip import DialogueClip, Fallbacks, fallbacks
from reaffect.models.local_attention import LocalClues
from reaffect.models.microemo import ABLATIONS, MicroEmo, MicroEmoConfig
from reaffect.models.qformer import QFormer
from reaffect.models.timestamps import VOCABULARY, bert, timestamp_tokens
from reaffect.models.video_llama import VideoLLaMA
from test_models_qformer import lavis_shapes
from test_models_video_llama import SMALL as VIDEO_LLAMA
from test_models_video_llama import linear, llama, loud, released, segments, words

SIZES = {**asdict(VIDEO_LLAMA), "audio": VIDEO_LLAMA.audio, "image_size": 56, "frame_positions": 4}
SMALL = MicroEmoConfig(**SIZES, local_heads=4, lora_rank=4, lora_alpha=4)
PATCHES, REGIONS = 16, 3

pytestmark = pytest.mark.usefixtures("on_one_thread")
__all__ = ["released"]  # a fixture


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def clip(count: int, utterances=(), *, seed: int = 0, faces: bool = True) -> DialogueClip:
    """A frame a second; where there are faces, every third frame lacks one."""
    masks = torch.rand(count, REGIONS, PATCHES, generator=torch.Generator().manual_seed(seed)) < 0.25
    masks[:, 0, 3] = True
    masks[1::3] = False
    return DialogueClip(noise(count, 3, 56, 56, seed=seed), range(count), masks if faces else None, utterances)


TALK = clip(5, [(0, 1.2), (1.2, 3.5), (2.4, 9.0), (3.6, 3.7)], seed=1)
REPLY = clip(3, [(0.5, 1.5)], seed=2)
SILENT = clip(6, seed=3, faces=False)
CLIPS = [TALK, REPLY, SILENT]


def build(config: MicroEmoConfig = SMALL) -> MicroEmo:
    return loud(MicroEmo(config, llama(), words()))


@pytest.fixture(scope="module")
def model() -> MicroEmo:
    return build()


# --- sizes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def full_size(monkeypatch) -> MicroEmo:
    """Paper size, of tensors that hold nothing; into masks of these transformers must not look, as while it traces."""
    monkeypatch.setattr(masking_utils, "is_tracing", lambda _mask: True)
    with torch.device("meta"):
        return MicroEmo(MicroEmoConfig(), LlamaForCausalLM(LlamaConfig()), words()).eval()


def test_sizes_of_the_paper(full_size):
    """Formulas in the numbers that the facts give; the parts that Video-LLaMA has are counted in its own test."""
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in full_size.named_children()}
    reads = math.prod((32, 768)) + sum(math.prod(s) for s in lavis_shapes(768, 3072, 12, 1408, 32, 2).values())
    text = (VOCABULARY + 512) * 768 + 12 * (linear(3072, 768) + linear(768, 3072) + 2 * 768)
    assert count["image_qformer"] == reads + text == 185_684_736
    assert count["local"] == 2 * 1408 + linear(3 * 1408, 1408) + linear(1408, 1408) + linear(768, 2 * 768) == 9_118_720
    assert count["video_qformer"] == count["utterance_qformer"] == 18_929_664
    assert count["tower"] == 985_952_256 and count["ears"] == 86_235_648
    lora = full_size.language_model.peft_config["default"]
    assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (32, 32, 0.1)
    assert count["language_model"] == 6_738_415_616 + 32 * 4 * 32 * 2 * 4096


def test_shapes_of_the_paper(full_size):
    states = full_size.tower(torch.empty(8, 3, 224, 224, device="meta")).last_hidden_state
    assert states.shape == (8, 257, 1408)
    tokens = full_size.image_qformer(states, None, *sentence(8))
    assert tokens.shape == full_size.local.fuse(tokens, tokens).shape == (8, 32, 768)
    window = full_size.utterance_qformer(full_size.frame_positions(tokens).flatten(0, 1)[None])
    assert full_size.video_projection(window).shape == (1, 32, 4096)
    assert full_size.encode_audio([torch.empty(5, 1, 128, 204, device="meta")]).shape == (1, 8, 4096)


def sentence(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids as long as a timestamp's, and their mask."""
    return tuple(torch.ones(frames, 12, dtype=kind, device="meta") for kind in (torch.long, torch.bool))


def test_local_clues_cost_little_at_paper_size(full_size):
    """Operations counted, with every patch in a region: issue 5 asks for less than a fifth of the global encoding."""
    patches = torch.empty(1, 256, 1408, device="meta")
    with FlopCounterMode(display=False) as everywhere:
        full_size.image_qformer(
            full_size.tower(torch.empty(1, 3, 224, 224, device="meta")).last_hidden_state, None, *sentence(1)
        )
    with FlopCounterMode(display=False) as local:
        full_size.local.attention(patches, patches, patches, need_weights=False)
        locally = full_size.image_qformer(patches, None, *sentence(1))
        full_size.local.fuse(locally, locally)
    assert 0.01 < local.get_total_flops() / everywhere.get_total_flops() < 0.06


@pytest.mark.parametrize(
    ("switch", "part"),
    [("local_clues", "local"), ("utterance_windows", "utterance_qformer"), ("audio_branch", "audio")],
)
def test_what_is_switched_off_has_no_parameters(model, switch, part):
    without = build(replace(SMALL, **{switch: False}))
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    left = {name.split(".")[0] for name, _ in without.named_parameters()}
    gone = {"audio": {"ears", "segment_positions", "audio_qformer", "audio_projection"}}.get(part, {part})
    assert names - left == gone and left <= names
    assert model(["?"], [TALK], answers=["no"]).loss != without(["?"], [TALK], answers=["no"]).loss


def test_without_timestamps_nothing_reads_text(model):
    without = build(replace(SMALL, timestamps=False))
    text = [name for name, _ in model.named_parameters() if name not in dict(without.named_parameters())]
    assert any("word_embeddings" in name for name in text)
    assert all(name.startswith("image_qformer.qformer.") for name in text)
    later = replace(REPLY, times_s=[0.1, 1.4, 2.5])  # with the same window
    torch.testing.assert_close(without.encode_video([REPLY])[0], without.encode_video([later])[0])
    assert (model.encode_video([REPLY])[0] - model.encode_video([later])[0]).abs().max() > 1e-3


def test_all_parts_off_is_video_llama():
    """With its weights, the barest row of Table 2 encodes as `VideoLLaMA` does."""
    off = MicroEmo(replace(SMALL, **ABLATIONS["w/o all proposed modules"]), llama(), words())
    network = loud(VideoLLaMA(replace(VIDEO_LLAMA, image_size=56), llama(), words()))
    kept = {name: value for name, value in network.state_dict().items() if not name.startswith("language_model.")}
    missing, unknown = off.load_state_dict(kept, strict=False)
    assert not unknown and all(name.startswith("language_model.") for name in missing)
    off.eval()
    expected = network.encode_video([each.frames for each in CLIPS])
    torch.testing.assert_close(torch.stack(off.encode_video(CLIPS)), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(off.encode_audio(segments(2, 3)), network.encode_audio(segments(2, 3)))


def test_ablations_are_rows_of_table_2():
    assert next(iter(ABLATIONS)) == "MicroEmo" and len(ABLATIONS) == 4
    for changes in ABLATIONS.values():
        assert not any(changes.values())
        replace(SMALL, **changes)


# --- local clues ---------------------------------------------------------------------------------------------


def local_by_hand(clues: LocalClues, patches: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """One face: each kept patch attends, head by head, to those that share a region with it; no masks, but lists."""
    kept = regions.any(0).nonzero().ravel().tolist()
    normed, width = clues.norm(patches), patches.shape[-1]
    weight, bias = clues.attention.in_proj_weight, clues.attention.in_proj_bias
    query, key, value = (normed @ weight.T + bias).split(width, -1)
    size, rows = width // clues.attention.num_heads, []
    for patch in kept:
        seen = [other for other in kept if any(region[patch] and region[other] for region in regions)]
        heads = [slice(at, at + size) for at in range(0, width, size)]
        read = [
            (query[patch, head] @ key[seen][:, head].T / math.sqrt(size)).softmax(-1) @ value[seen][:, head]
            for head in heads
        ]
        rows.append(patches[patch] + clues.attention.out_proj(torch.cat(read)))
    return torch.stack(rows)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.1, 0.3, 0.8]))
def test_patches_attend_to_their_regions(model, seed, share):
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(3, PATCHES, 24, generator=generator)
    regions = torch.rand(3, REGIONS, PATCHES, generator=generator) < share
    regions[:, 0, 5] = True
    with torch.no_grad():
        states, real = model.local(patches, regions)
        for face in range(3):
            expected = local_by_hand(model.local, patches[face], regions[face])
            torch.testing.assert_close(states[face, : len(expected)], expected, atol=1e-5, rtol=1e-4)
            assert real is None or real[face].sum() == len(expected)
    assert states.isfinite().all()


@settings(max_examples=30)
@given(seed=st.integers(0, 1000))
def test_what_lies_outside_of_the_masks_changes_nothing_locally(model, seed):
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(2, PATCHES, 24, generator=generator)
    regions = torch.rand(2, REGIONS, PATCHES, generator=generator) < 0.3
    regions[:, 1, 0] = True
    ids, real_words = timestamp_tokens([0, 1])
    outside = torch.where(regions.any(1)[..., None], patches, noise(2, PATCHES, 24, seed=seed + 1) * 50)
    inside = patches.clone()
    inside[0, 0] += 1

    def queries(of: torch.Tensor) -> torch.Tensor:
        states, real = model.local(of, regions)
        return model.image_qformer(states, real, ids, real_words)

    with torch.no_grad():
        assert torch.equal(queries(patches), queries(outside))
        changed = (queries(patches) - queries(inside)).abs().amax((1, 2))
    assert changed[0] > 1e-5 and changed[1] == 0


def test_local_clues_begin_as_nothing_new():
    """Before training the facial features are the tower's own, and the fused queries are the two readings' mean."""
    clues = LocalClues(24, 4, 32)
    patches, regions = noise(2, PATCHES, 24), torch.ones(2, 1, PATCHES, dtype=torch.bool)
    torch.testing.assert_close(clues(patches, regions)[0], patches)
    one, other = noise(2, 4, 32, seed=1), noise(2, 4, 32, seed=2)
    torch.testing.assert_close(clues.fuse(one, other), (one + other) / 2)


def test_frames_without_a_face_are_read_globally(model):
    [patches] = model.see([TALK])
    [tokens] = model.read_frames([patches], [TALK])
    [without] = model.read_frames([patches], [replace(TALK, regions=None)])
    same = (tokens - without).abs().amax((1, 2)) < 1e-5
    assert same.tolist() == [not face for face in TALK.faces()] == [False, True, False, False, True]
    ids, real = timestamp_tokens(TALK.times_s)
    torch.testing.assert_close(without, model.image_qformer(patches, text=ids, text_mask=real))


def test_masks_for_another_grid_are_refused(model):
    with pytest.raises(ValueError, match="masks of 9 patches for 16"):
        model.encode_video([replace(TALK, regions=torch.ones(5, 2, 9, dtype=torch.bool))])


# --- timestamps ----------------------------------------------------------------------------------------------


def test_timestamps_are_the_papers_sentence_in_berts_words():
    ids, real = timestamp_tokens([0.0, 2.04, 1023.46])
    texts = [bert().decode(row[seen], skip_special_tokens=True) for row, seen in zip(ids, real, strict=True)]
    assert [text.replace(" ", "") for text in texts] == [
        f"thisframeissampledat{time}s." for time in ("0.0", "2.0", "1023.5")
    ]
    # Ids as bert-base-uncased has them: [CLS] this frame is ... [SEP].
    assert ids[1][real[1]][:4].tolist() == [101, 2023, 4853, 2003] and ids[1][real[1]][-1] == 102
    assert ids.max() < VOCABULARY


def test_a_frame_is_read_with_its_own_time(model):
    patches = model.see([REPLY])
    [tokens] = model.read_frames(patches, [REPLY])
    [moved] = model.read_frames(patches, [replace(REPLY, times_s=[0, 1, 57.5])])
    assert ((tokens - moved).abs().amax((1, 2)) > 1e-3).tolist() == [False, False, True]


# --- utterance windows ---------------------------------------------------------------------------------------


def by_loop(network: MicroEmo, each: DialogueClip) -> torch.Tensor:
    """One clip's soft tokens by a loop over its utterances, each frame chosen by comparing its time."""
    [tokens] = network.read_frames(network.see([each]), [each])
    tokens = network.frame_positions(tokens)
    embed = network.language_model.get_input_embeddings()
    rows = [network.video_projection(network.video_qformer(tokens.flatten(0, 1)[None]))[0]]
    for start, end in each.utterances:
        window = [k for k, time in enumerate(each.times_s) if start <= time < end]
        window = window or [min(range(len(each)), key=lambda k: abs(each.times_s[k] - (start + end) / 2))]
        ids = network.tokenizer(f" At {start:.1f}s: ", add_special_tokens=False).input_ids
        read = network.utterance_qformer(torch.cat([tokens[k] for k in window])[None])
        rows += [embed(torch.tensor(ids)), network.video_projection(read)[0]]
    return torch.cat(rows)


def test_windows_at_once_are_as_windows_one_by_one(model):
    with torch.no_grad():
        for each, together in zip(CLIPS, model.encode_video(CLIPS), strict=True):
            torch.testing.assert_close(together, by_loop(model, each), atol=1e-5, rtol=1e-4)
    silent = model.encode_video([SILENT])[0]
    assert len(silent) == SMALL.video_queries < len(model.encode_video([TALK])[0])


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), frame=st.integers(0, 4))
def test_frames_outside_of_a_window_change_nothing_in_its_tokens(model, seed, frame):
    changed = TALK.frames.clone()
    changed[frame] = noise(3, 56, 56, seed=seed + 10)
    with torch.no_grad():
        before, after = (soft_parts(model, each) for each in (TALK, replace(TALK, frames=changed)))
    windows = [[0, 1], [2, 3], [3, 4], [4]]
    assert (before[0] - after[0]).abs().max() > 1e-4  # the whole clip's
    for window, one, other in zip(windows, before[1:], after[1:], strict=True):
        moved = (one - other).abs().max()
        assert moved > 1e-4 if frame in window else moved < 1e-6


def soft_parts(network: MicroEmo, each: DialogueClip) -> list[torch.Tensor]:
    """Video tokens of the whole and of each window, without the words between."""
    [row] = network.encode_video([each])
    queries, parts = network.config.video_queries, []
    parts.append(row[:queries])
    row = row[queries:]
    for start, _ in each.utterances:
        row = row[len(network.tokenizer(f" At {start:.1f}s: ").input_ids) :]
        parts.append(row[:queries])
        row = row[queries:]
    assert not len(row)
    return parts


def frames_of(times, utterances) -> list[list[int] | None]:
    windows = DialogueClip(torch.zeros(len(times), 3, 4, 4), times, None, utterances).windows()
    return [None if window is None else window.tolist() for window in windows]


def test_frames_of_an_utterance():
    times = [0.0, 2.0, 4.0]
    assert frames_of(times, [(0, 2), (0, 2.1), (1, 99)]) == [[0], [0, 1], [1, 2]]
    assert frames_of(times, [(0.1, 0.2), (1.2, 1.4), (4.5, 5), (5.8, 6.4)]) == [[0], [1], [2], None]
    assert frames_of([3.0], [(0, 1), (50, 60)]) == [[0], [0]]  # one frame stands for all
    assert frames_of(times, []) == []


@given(
    times=st.lists(st.integers(0, 400), min_size=1, max_size=9, unique=True),
    start=st.integers(0, 500),
    length=st.integers(1, 100),
)
def test_frames_of_any_utterance(times, start, length):
    times = sorted(times)
    [window] = frames_of(times, [(start, start + length)])
    inside = [k for k, time in enumerate(times) if start <= time < start + length]
    if inside:
        assert window == inside
    elif window is not None:
        gaps = [abs(time - start - length / 2) for time in times]
        assert gaps[window[0]] == min(gaps) and len(window) == 1
    else:
        assert start + length / 2 >= 2 * times[-1] - times[-2]


def test_fallbacks_are_counted(model):
    late = clip(4, [(0, 1), (7.0, 8.0)], seed=4)
    gone = clip(3, [(50, 60)], seed=5)
    assert fallbacks([*CLIPS, late, gone]) == Fallbacks(
        frames=21, frames_without_face=2 + 1 + 6 + 1 + 1, utterances=8, utterances_past_the_end=2,
        clips_without_utterance=2,
    )  # fmt: skip
    whole = model.encode_video([replace(late, utterances=late.utterances[:1])])
    torch.testing.assert_close(model.encode_video([late]), whole)
    torch.testing.assert_close(model.encode_video([gone])[0], model.encode_video([replace(gone, utterances=())])[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times_s": [0, 1]}, "3 frames with 2 times and masks of 3"),
        ({"regions": torch.ones(2, 1, 16, dtype=torch.bool)}, "3 frames with 3 times and masks of 2"),
        ({"times_s": [0, 2, 1]}, "must be finite and increase"),
        ({"times_s": [0, 1, math.nan]}, "must be finite and increase"),
        ({"utterances": [(2, 1)]}, "from 2 to 1 s"),
        ({"utterances": [(0, math.inf)]}, "from 0 to inf s"),
    ],
)
def test_bad_clips(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(REPLY, **changes)


def test_pooled_positions_are_refused():
    with pytest.raises(ValueError, match="'pool'; windows need 'interpolate'"):
        replace(SMALL, longer="pool")


# --- attention maps ------------------------------------------------------------------------------------------


def test_attention_maps(model):
    for each, seen in zip(CLIPS, model.attentions(CLIPS), strict=True):
        faces = torch.tensor(each.faces())
        torch.testing.assert_close(seen.patches.sum(1), faces.float(), atol=1e-5, rtol=0)
        torch.testing.assert_close(seen.whole.sum(), torch.tensor(1.0))
        torch.testing.assert_close(seen.windows.sum(1), torch.ones(len(each.utterances)))
        assert seen.utterances == list(range(len(each.utterances)))
        for row, window in zip(seen.windows, each.windows(), strict=True):
            assert row.nonzero().ravel().tolist() == window.tolist()
        if each.regions is not None:
            assert not seen.patches[~each.regions.any(1)].any()
            expected = (each.regions * seen.patches[:, None]).sum(-1)
            torch.testing.assert_close(seen.regions, expected)
    with pytest.raises(ValueError, match="lacks local_clues"):
        build(replace(SMALL, local_clues=False)).attentions(CLIPS)


def test_attention_maps_are_those_of_the_reading(model):
    """Queries and keys as the one layer that looks has them -> softmax over the face's patches, by hand."""
    reader = model.image_qformer.qformer
    before = reader.config._attn_implementation
    [seen] = model.attentions([TALK])
    assert reader.config._attn_implementation == before
    assert not any(part._forward_hooks for part in model.modules())
    layer = reader.encoder.layer[0].crossattention.attention
    face = TALK.faces().index(True)
    inside = TALK.regions[face].any(0)
    query = {}
    hook = layer.query.register_forward_hook(lambda _m, _i, out: query.setdefault("local", []).append(out))
    with torch.no_grad():
        model.read_frames(model.see([TALK]), [TALK])
        hook.remove()
        states, real = model.local(model.see([TALK])[0][torch.tensor(TALK.faces()), 1:], TALK.regions[TALK.faces()])
        by_head = [each[0].unflatten(-1, (4, 8)).transpose(0, 1) for each in (query["local"][1], layer.key(states))]
        scores = by_head[0] @ by_head[1].mT / math.sqrt(8)
        shares = scores.masked_fill(~real[0], -math.inf).softmax(-1).mean((0, 1))[: inside.sum()]
    torch.testing.assert_close(seen.patches[face, inside], shares, atol=1e-5, rtol=1e-4)


# --- the whole -----------------------------------------------------------------------------------------------


def test_loss_is_of_the_answers_alone(model):
    questions, answers = ["Sad?", "How does she feel?"], ["a little", "no"]
    output = model(questions, [TALK, REPLY], segments(1, 3), answers)
    logprobs, picked = output.logits.log_softmax(-1), []
    for row, answer in enumerate(answers):
        target = words()(f" {answer}\n###").input_ids
        picked += [logprobs[row, k - len(target) - 1, token] for k, token in enumerate(target)]
    torch.testing.assert_close(output.loss, -torch.stack(picked).mean())


def test_a_batch_answers_as_each_alone(model):
    questions, sounds = ["Sad?", "How does she feel, and why?", "?"], segments(2, 1, 5)
    together = model.generate(questions, CLIPS, sounds, max_new_tokens=10)
    alone = [
        model.generate([q], [c], [s], max_new_tokens=10)[0] for q, c, s in zip(questions, CLIPS, sounds, strict=True)
    ]
    assert together == alone
    assert len(set(together)) == 3


def test_clips_may_bring_the_towers_tokens(model):
    kept = [replace(each, frames=states) for each, states in zip(CLIPS, model.see(CLIPS), strict=True)]
    for one, other in zip(model.encode_video([kept[0], REPLY, kept[2]]), model.encode_video(CLIPS), strict=True):
        torch.testing.assert_close(one, other)


def test_sound_is_refused_where_nothing_hears():
    deaf = build(replace(SMALL, audio_branch=False))
    assert deaf.generate(["Sad?"], [REPLY], max_new_tokens=2)
    assert deaf.freeze(*deaf.published).frozen == ("tower",)
    with pytest.raises(ValueError, match="no audio branch"):
        deaf(["Sad?"], [REPLY], segments(1))
    with pytest.raises(ValueError, match="a clip without frames"):
        deaf(["Sad?"], [clip(0)])
    with pytest.raises(ValueError, match="names the slots"):
        deaf(["Sad? <ImageHere>"], [REPLY])


def test_what_the_paper_trains_is_trained():
    network = build().freeze(*MicroEmo.published).train()
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(["Sad?"], [TALK], segments(2), ["no"]).loss.backward()
    optimizer.step()
    changed = {name for name, value in network.named_parameters() if not value.equal(before[name])}
    assert {name for name in changed if name.startswith("language_model.")} == {
        name for name in before if ".lora_" in name
    }
    parts = {name for name, _ in network.named_children()} - set(MicroEmo.published)
    assert {name.split(".")[0] for name in changed} == parts


@pytest.mark.parametrize("row", ABLATIONS)
def test_saved_and_loaded(tmp_path, row):
    config = replace(SMALL, **ABLATIONS[row], audio_branch=row == "MicroEmo")
    network = build(config)
    expected = network(["Sad?"], [TALK]).logits
    network.save_pretrained(tmp_path / "whole")
    whole = MicroEmo.from_pretrained(tmp_path / "whole")
    assert whole.config == config and not whole.training
    torch.testing.assert_close(whole(["Sad?"], [TALK]).logits, expected)
    network.save_pretrained(tmp_path / "rest", language_model=False)
    base = copy.deepcopy(network.language_model).unload()
    rest = MicroEmo.from_pretrained(tmp_path / "rest", base)
    torch.testing.assert_close(rest(["Sad?"], [TALK]).logits, expected)
    sizes = [(tmp_path / kind / "model.safetensors").stat().st_size for kind in ("whole", "rest")]
    assert sizes[1] < sizes[0]


def test_half_precision():
    mixed = MicroEmo(SMALL, llama().to(torch.bfloat16), words())
    mixed(["Sad?"], [TALK], segments(2), ["no"]).loss.backward()
    assert mixed.local.fusion.weight.grad.abs().max() > 0
    assert build().to(torch.bfloat16)(["Sad?"], [TALK], segments(2), ["no"]).loss.isfinite()


# --- released files ------------------------------------------------------------------------------------------


def instruct_blip(seed: int = 8) -> dict[str, torch.Tensor]:
    """`instruct_blip_vicuna7b_trimmed.pth` of small sizes: BLIP-2's names, and those that read text."""
    shapes = {f"Qformer.bert.{name}": shape for name, shape in lavis_shapes(32, 48, 2, 24, 4, 2).items()}
    shapes |= {
        "Qformer.bert.embeddings.word_embeddings.weight": (VOCABULARY, 32),
        "Qformer.bert.embeddings.position_embeddings.weight": (512, 32),
        "Qformer.bert.embeddings.position_ids": (1, 512),
        "Qformer.cls.predictions.bias": (3,),
        "query_tokens": (1, 4, 32),
        "ln_vision.weight": (24,),
        "ln_vision.bias": (24,),
        "llm_proj.weight": (3, 32),
        "llm_proj.bias": (3,),
    }
    for k in range(2):
        layer = f"Qformer.bert.encoder.layer.{k}."
        shapes |= {layer + "intermediate.dense.weight": (48, 32), layer + "intermediate.dense.bias": (48,)}
        shapes |= {layer + "output.dense.weight": (32, 48), layer + "output.dense.bias": (32,)}
        shapes |= {layer + f"output.LayerNorm.{kind}": (32,) for kind in ("weight", "bias")}
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in shapes.items()}


@pytest.fixture
def files(released, tmp_path):
    """Video-LLaMA's files with InstructBLIP's in the place of BLIP-2's."""
    _, content, paths = released
    content["instruct_blip_vicuna7b_trimmed.pth"] = instruct_blip()
    torch.save(
        {"model": content["instruct_blip_vicuna7b_trimmed.pth"]}, tmp_path / "instruct_blip_vicuna7b_trimmed.pth"
    )
    return content, [tmp_path / "instruct_blip_vicuna7b_trimmed.pth" if "blip2" in p.name else p for p in paths]


def test_released_files(files):
    content, paths = files
    network = MicroEmo(replace(SMALL, image_size=28), llama(), words()).eval()
    before = copy.deepcopy(network.state_dict())
    network.load_original(paths)
    own, blip = network.state_dict(), content["instruct_blip_vicuna7b_trimmed.pth"]
    video = content["finetune-vicuna7b-v2.pth"]["model"]
    first = "Qformer.bert.encoder.layer.0."
    ours = "image_qformer.qformer.encoder.layer.0."
    for name, value in {
        "tower.post_layernorm.weight": blip["ln_vision.weight"],
        "image_qformer.query_tokens": blip["query_tokens"],
        "image_qformer.qformer.embeddings.word_embeddings.weight": blip[
            "Qformer.bert.embeddings.word_embeddings.weight"
        ],
        "image_qformer.qformer.embeddings.layernorm.bias": blip["Qformer.bert.embeddings.LayerNorm.bias"],
        ours + "intermediate.dense.weight": blip[first + "intermediate.dense.weight"],
        ours + "output_query.LayerNorm.weight": blip[first + "output_query.LayerNorm.weight"],
        ours + "output.LayerNorm.weight": blip[first + "output.LayerNorm.weight"],
        ours + "crossattention.attention.value.weight": blip[first + "crossattention.self.value.weight"],
        ours + "attention.output.dense.weight": blip[first + "attention.output.dense.weight"],
        "video_qformer.query_tokens": video["video_query_tokens"],
        "utterance_qformer.query_tokens": video["video_query_tokens"],
        "utterance_qformer.qformer.encoder.layer.1.output_query.dense.bias": video[
            "video_Qformer.bert.encoder.layer.1.output_query.dense.bias"
        ],
        "video_projection.weight": video["llama_proj.weight"],
    }.items():
        torch.testing.assert_close(own[name], value)
    untouched = {name for name, value in own.items() if torch.equal(value, before[name])}
    assert untouched == {name for name in own if name.startswith(("language_model.", "local."))} | (
        untouched & {"ears.log_scale"}
    )


def test_released_files_for_a_model_without_some_parts(files):
    _, paths = files
    bare = replace(SMALL, image_size=28, audio_branch=False, **ABLATIONS["w/o all proposed modules"])
    network = MicroEmo(bare, llama(), words())
    network.load_original([path for path in paths if "imagebind" not in path.name])
    assert network.image_qformer.query_tokens.equal(instruct_blip()["query_tokens"])
    assert isinstance(network.image_qformer, QFormer) and not network.image_qformer.conditioned
    with pytest.raises(ValueError, match=r"image_qformer.* missing"):
        network.load_original([path for path in paths if "blip" not in path.name])


# --- a real language model, and learning -----------------------------------------------------------------------


def test_on_smollm2(smollm2_folder):
    voice = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32)
    torch.manual_seed(0)
    network = MicroEmo(SMALL, voice, AutoTokenizer.from_pretrained(smollm2_folder))
    network.freeze(*network.published).train()
    assert len(network.encode_video([TALK])[0]) > 5 * SMALL.video_queries
    network(["How does she feel?"], [TALK], segments(2), ["She is sad."]).loss.backward()
    for part in (network.local, network.utterance_qformer, network.image_qformer, network.audio_qformer):
        assert max(p.grad.abs().max() for p in part.parameters() if p.grad is not None) > 0
    assert all((p.grad is not None) == (".lora_" in n) for n, p in network.language_model.named_parameters())
    [answer] = network.eval().generate(["How does she feel?"], [TALK], segments(2), max_new_tokens=4)
    assert isinstance(answer, str)


def test_it_learns_what_each_utterance_shows():
    """Planted: a word for the brightness of each of two utterances. All learns: a random model is no base for LoRA."""
    torch.manual_seed(0)
    config = replace(SMALL, lora_dropout=0.0, audio_branch=False)
    network = MicroEmo(config, llama(), words()).train()
    network.language_model.requires_grad_(True)
    face = torch.ones(2, 1, PATCHES, dtype=torch.bool)
    clips = [
        DialogueClip(torch.tensor([one, two]).view(2, 1, 1, 1).expand(2, 3, 56, 56), [0, 1], face, [(0, 1), (1, 2)])
        for one in (-1.0, 1.0)
        for two in (-1.0, 1.0)
    ]
    answers = ["dq", "dl", "bq", "bl"]
    optimizer = torch.optim.AdamW(network.parameters(), lr=6e-3)
    for _ in range(80):
        loss = network(["?"] * 4, clips, answers=answers).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    assert network.generate(["?"] * 4, clips, max_new_tokens=9) == answers
    assert network.generate(["?"] * 4, clips[::-1], max_new_tokens=9) == answers[::-1]
