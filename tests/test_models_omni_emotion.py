"""Omni-Emotion: sizes, the three fusions, what absent modalities leave, what phases move, released folders."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipVisionConfig,
    WhisperModel,
)

from reaffect.models.facexformer import KEY
from reaffect.models.omni_emotion import ABLATIONS, FUSIONS, PHASES, OmniClip, OmniEmotion, OmniEmotionConfig
from reaffect.models.whisper_audio import Sound
from test_models_facexformer import SMALL as FACE
from test_models_facexformer import Release
from test_models_video_llama import linear, llama, loud, words
from test_models_whisper_audio import SMALL as AUDIO
from test_models_whisper_audio import noise as waveform
from test_models_whisper_audio import whisper

SMALL = OmniEmotionConfig(
    image_size=42,
    patch_size=14,
    tower_width=24,
    tower_mlp=40,
    tower_layers=2,
    tower_heads=4,
    fusion_heads=4,
    frames=3,
    absent_tokens=2,
    face=FACE,
    audio=AUDIO,
)
VISUAL, FACIAL, HIDDEN = 4, 4, 32
"""Tokens a frame, 3 x 3 patches halved and 2 x 2, and their width."""

pytestmark = pytest.mark.usefixtures("on_one_thread")
__all__ = ["whisper"]  # a fixture


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def clip(frames: int, *without_face: int, seed: int = 0) -> OmniClip:
    found = torch.tensor([k not in without_face for k in range(frames)])
    faces = noise(int(found.sum()), 3, 56, 56, seed=seed + 50) if found.any() else None
    return OmniClip(noise(frames, 3, 42, 42, seed=seed), faces, found)


def sound(tokens: int, seed: int = 0) -> Sound:
    return Sound(noise(math.ceil(tokens / 10), 20, 60, seed=seed + 90), tokens)


def build(**changes) -> OmniEmotion:
    return loud(OmniEmotion(replace(SMALL, **changes), llama(), words()))


@pytest.fixture(scope="module")
def models() -> dict[str, OmniEmotion]:
    return {fusion: build(fusion=fusion) for fusion in FUSIONS}


@pytest.fixture(scope="module")
def model(models) -> OmniEmotion:
    return models["clip"]


# --- sizes ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full_size() -> OmniEmotion:
    """Paper size, of tensors that hold nothing."""
    qwen = Qwen2Config(
        vocab_size=152_064,
        hidden_size=3584,
        intermediate_size=18_944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
    )
    with torch.device("meta"):
        return OmniEmotion(OmniEmotionConfig(fusion="cross"), Qwen2ForCausalLM(qwen), words()).eval()


def test_sizes_of_the_paper(full_size):
    """The language model's 7.6 B are those of Qwen2-7B, the tower's those of SigLIP-so400m's vision model but for its
    last layer and its head. Ears and face are counted in their own tests.
    """
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in full_size.named_children()}
    w, mlp, hidden = 1152, 4304, 3584
    layer = 4 * linear(w, w) + linear(mlp, w) + linear(w, mlp) + 4 * w
    head = w + 4 * linear(w, w) + linear(mlp, w) + linear(w, mlp) + 2 * w
    assert count["tower"] == 26 * layer + linear(w, 3 * 14 * 14) + 27 * 27 * w + 2 * w == 428_225_600 - layer - head
    assert count["visual_projector"] == linear(hidden, w) + linear(hidden, hidden)
    assert count["audio_projector"] == linear(hidden, 1280) + linear(hidden, hidden)
    assert count["face_projector"] == linear(hidden, 256) + linear(hidden, hidden)
    assert count["face_attention"] == 4 * linear(hidden, hidden)
    assert count["frame_positions"] == 8 * hidden
    assert count["newline"] == hidden and count["visual_marks"] == count["audio_marks"] == 2 * hidden
    assert count["ears"] == 636_968_960
    assert count["face_encoder"] == 86_741_176 + 256 * (128 + 256 + 512 + 1024) + 4 * 256 + 1024 * 256
    assert count["language_model"] == 7_615_616_512


def test_shapes_of_the_paper(full_size, monkeypatch):
    """8 frames of 196 and LLaVA-OneVision's one more, 49 of each face, 500 of 30 s; two marks around each modality."""
    shown = OmniClip(*(torch.empty(8, 3, side, side, device="meta") for side in (384, 224)))
    [seen] = full_size.see([shown])
    [heard] = full_size.listen([Sound(torch.empty(1, 128, 3000, device="meta"), 500)])
    assert seen.frames.shape == (8, 729, 1152) and seen.faces.shape == (8, 49, 256) and heard.heard.shape == (500, 1280)
    for fusion in FUSIONS:
        monkeypatch.setattr(full_size, "config", OmniEmotionConfig(fusion=fusion))
        soft = full_size.encode([seen], [heard])
        assert soft["<vision_feature>"][0].shape == (2 + 8 * 196 + 1 + 8 * 49, 3584)
        assert soft["<audio_feature>"][0].shape == (2 + 500, 3584)


@pytest.mark.parametrize("row", ABLATIONS)
def test_what_an_ablation_leaves_out_has_no_parameters(model, row):
    network = build(**ABLATIONS[row])
    gone = {"audio": {"ears", "audio_projector", "audio_marks"}, "face": {"face_encoder", "face_projector"}}
    expected = set().union(*(gone[name.split("_")[0]] for name in ABLATIONS[row]))
    parts = {name for name, _ in model.named_children()}
    assert parts - {name for name, _ in network.named_children()} == expected
    [tokens] = network.encode_video([clip(3)])
    assert len(tokens) == 3 * VISUAL + 1 + 3 * FACIAL * ("face_branch" not in ABLATIONS[row])


# --- fusion --------------------------------------------------------------------------------------------------


def visual_by_hand(network: OmniEmotion, shown: OmniClip) -> torch.Tensor:
    """(frames, 4, hidden): a square of three halved bilinearly. Two columns over three have their centres at 0.25 and
    1.75, if those of the three are at 0, 1 and 2.
    """
    states = network.tower(shown.frames, output_hidden_states=True).hidden_states[-1]
    grid = network.visual_projector(states).unflatten(1, (3, 3))
    weights = torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.25, 0.75]])
    halved = torch.einsum("ra,cb,fabh->frch", weights, weights, grid).flatten(1, 2)
    return halved + network.frame_positions.weight[: len(halved), None]


def facial_by_hand(network: OmniEmotion, shown: OmniClip) -> torch.Tensor:
    """(frames, 4, hidden), frame by frame."""
    rows, faces = [], iter(shown.faces)
    for frame, found in enumerate(shown.found):
        if not found:
            rows.append(torch.zeros(FACIAL, HIDDEN))
            continue
        tokens = network.face_projector(network.face_encoder(next(faces)[None])[0])
        tokens = tokens + network.frame_positions.weight[frame]
        if network.config.fusion == "cross":
            tokens = tokens + attended(network.face_attention, tokens, visual_by_hand(network, shown)[frame])
        rows.append(tokens)
    return torch.stack(rows)


def attended(attention: torch.nn.MultiheadAttention, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    size = HIDDEN // attention.num_heads
    weights, biases = attention.in_proj_weight.split(HIDDEN), attention.in_proj_bias.split(HIDDEN)
    query, key, value = (of @ w.T + b for of, w, b in zip((queries, keys, keys), weights, biases, strict=True))
    heads = [slice(at, at + size) for at in range(0, HIDDEN, size)]
    read = [(query[:, h] @ key[:, h].T / math.sqrt(size)).softmax(-1) @ value[:, h] for h in heads]
    return attention.out_proj(torch.cat(read, 1))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusions_are_those_of_figure_6(models, fusion):
    network, shown = models[fusion], clip(3, 1)
    with torch.no_grad():
        visual, facial = visual_by_hand(network, shown), facial_by_hand(network, shown)
        [tokens] = network.encode_video([shown])
    end = network.newline.weight
    if fusion == "clip":
        expected = [*visual, end, *facial]
    else:
        expected = [part for frame in zip(visual, facial, strict=True) for part in frame] + [end]
    torch.testing.assert_close(tokens, torch.cat(expected), atol=1e-4, rtol=1e-4)


@settings(max_examples=12)
@given(frame=st.integers(0, 2), fusion=st.sampled_from(FUSIONS))
def test_a_face_changes_its_own_frames_facial_tokens_alone(models, frame, fusion):
    shown = clip(3)
    faces = shown.faces.clone()
    faces[frame] = noise(3, 56, 56, seed=7)
    with torch.no_grad():
        one, other = (models[fusion].encode_video([each])[0] for each in (shown, replace(shown, faces=faces)))
    moved = ((one - other).abs().amax(1) > 1e-6).nonzero()[:, 0].tolist()
    first = 3 * VISUAL + 1 + frame * FACIAL if fusion == "clip" else frame * (VISUAL + FACIAL) + VISUAL
    assert moved == list(range(first, first + FACIAL))


def test_only_the_cross_attention_lets_faces_see_their_frame(models):
    shown = clip(3)
    frames = shown.frames.clone()
    frames[1] = noise(3, 42, 42, seed=7)
    for fusion, expected in {"frame": VISUAL, "cross": VISUAL + FACIAL, "clip": VISUAL}.items():
        with torch.no_grad():
            one, other = (models[fusion].encode_video([each])[0] for each in (shown, replace(shown, frames=frames)))
        assert ((one - other).abs().amax(1) > 1e-6).sum() == expected


def test_a_frames_embedding_is_added_to_all_of_its_tokens():
    network, shown = build(), clip(3, 2)
    with torch.no_grad():
        before = network.encode_video([shown])[0]
        network.frame_positions.weight += torch.tensor([[0.0], [5.0], [9.0]])
        added = network.encode_video([shown])[0] - before
    visual, end, facial = added.split([3 * VISUAL, 1, 3 * FACIAL])
    assert not end.any()
    steps = torch.tensor([0.0, 5.0, 9.0])[:, None, None].expand(-1, 4, HIDDEN)
    torch.testing.assert_close(visual.unflatten(0, (3, 4)), steps, atol=1e-4, rtol=1e-4)
    steps = torch.tensor([0.0, 5.0, 0.0])[:, None, None].expand(-1, 4, HIDDEN)  # the third frame has no face
    torch.testing.assert_close(facial.unflatten(0, (3, 4)), steps, atol=1e-4, rtol=1e-4)


def test_frame_embeddings_begin_as_nothing():
    assert not OmniEmotion(SMALL, llama(), words()).frame_positions.weight.any()


def test_clips_may_be_longer_than_the_table(model):
    assert len(model.encode_video([clip(7)])[0]) == 7 * (VISUAL + FACIAL) + 1


# --- absent modalities ---------------------------------------------------------------------------------------


def test_modalities_stand_between_their_marks(model):
    shown, heard = clip(2), sound(7)
    soft = model.encode([shown], [heard])
    for slot, marks, tokens in (
        ("<vision_feature>", model.visual_marks, model.encode_video([shown])[0]),
        ("<audio_feature>", model.audio_marks, model.encode_audio([heard])[0]),
    ):
        expected = torch.cat([marks.weight[:1], tokens, marks.weight[1:]])
        torch.testing.assert_close(soft[slot][0], expected)


def test_zeros_stand_for_what_is_absent(model):
    silent, blind = model.encode([clip(2)] * 2, None), model.encode(None, [sound(7)] * 2)
    for row in (*silent["<audio_feature>"], *blind["<vision_feature>"]):
        assert len(row) == 2 + SMALL.absent_tokens
        assert not row[1:-1].any() and row[0].any() and row[-1].any()
    faceless = model.encode_video([clip(2, 0, 1)])[0]
    assert not faceless[-2 * FACIAL :].any() and faceless[: -2 * FACIAL].any(1).all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_batch_is_as_each_alone(models, fusion):
    network = models[fusion]
    clips, sounds = [clip(3, seed=1), clip(2, 0, seed=2), clip(5, *range(5), seed=3)], [sound(4), sound(23), sound(10)]
    questions = ["Sad?", "How does she feel, and why?", "?"]
    together = network.generate(questions, clips, sounds, max_new_tokens=10)
    alone = [
        network.generate([q], [c], [s], max_new_tokens=10)[0] for q, c, s in zip(questions, clips, sounds, strict=True)
    ]
    assert together == alone and len(set(together)) == 3


def test_each_modality_reaches_the_answer(model):
    base = {"frames": [clip(2)], "audio": [sound(7)]}
    logits = model(["Sad?"], **base).logits[:, -1]
    others = [
        {"frames": [replace(clip(2), frames=noise(2, 3, 42, 42, seed=5))]},
        {"frames": [replace(clip(2), faces=noise(2, 3, 56, 56, seed=5))]},
        {"audio": [sound(7, seed=5)]},
        {"audio": None},
        {"frames": None},
    ]
    for changed in others:
        assert (model(["Sad?"], **{**base, **changed}).logits[:, -1] - logits).abs().max() > 1e-3


# --- encoders once a clip ------------------------------------------------------------------------------------


def test_kept_states_of_encoders_give_the_same_loss_without_them(model):
    clips, sounds, answers = [clip(3, 1), clip(2, 0, 1)], [sound(4), sound(23)], ["no", "a little"]
    with torch.no_grad():
        seen, heard = model.see(clips), model.listen(sounds)
    deaf = copy.deepcopy(model)
    for part in (deaf.tower.encoder, deaf.face_encoder, deaf.ears.encoder):
        part.forward = None  # what runs it fails
    fresh, kept = model(["?"] * 2, clips, sounds, answers), deaf(["?"] * 2, seen, heard, answers)
    torch.testing.assert_close(kept.loss, fresh.loss, atol=1e-5, rtol=1e-5)
    kept.loss.backward()
    assert deaf.face_projector[0].weight.grad.any() and deaf.audio_projector[0].weight.grad.any()
    assert deaf.see(seen)[0].frames is seen[0].frames


def test_the_tower_runs_once_for_a_batch(model, monkeypatch):
    calls = []
    run = model.tower.encoder.forward
    monkeypatch.setattr(model.tower.encoder, "forward", lambda *a, **k: calls.append(1) or run(*a, **k))
    model.see([clip(3), clip(2), clip(4)])
    assert len(calls) == 1


# --- phases --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("phase", PHASES)
def test_a_step_moves_what_the_phase_trains_and_nothing_else(phase, fusion):
    """Bit for bit; whatever phase came before."""
    network = build(fusion=fusion).begin(3).begin(4 - phase).begin(phase).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    frames, audio = {1: (None, [sound(7)]), 2: ([clip(3, 1)], None), 3: ([clip(3, 1)], [sound(7)])}[phase]
    network(["Sad?"], frames, audio, ["no"]).loss.backward()
    optimizer.step()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.split(".")[0] in PHASES[phase]}
    parts = {name.split(".")[0] for name in moved}
    attends = {"face_attention"} if fusion == "cross" else set()
    assert (
        parts
        == {
            1: {"audio_projector"},
            2: {"face_projector"} | attends,
            3: {"visual_projector", "face_projector", "audio_projector", "language_model"}
            | {"frame_positions", "visual_marks", "audio_marks"}
            | attends,
        }[phase]
    )


def test_frozen_encoders_are_in_evaluation_mode_in_every_phase():
    network = build()
    for phase in PHASES:
        network.begin(phase).train()
        assert not any(network.get_submodule(part).training for part in OmniEmotion.published)
        assert not {name for name, p in network.named_parameters() if p.requires_grad and "encoder" in name}
        assert network.language_model.training == (phase == 3)


def test_phases_that_train_nothing_are_refused(model):
    with pytest.raises(ValueError, match="phase 4 trains nothing of this model; there are 1, 2, 3"):
        copy.deepcopy(model).begin(4)
    with pytest.raises(ValueError, match="phase 1 trains nothing"):
        build(audio_branch=False).begin(1)


# --- LoRA ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_with_lora_phase_3_moves_the_adapters_and_nothing_else_of_the_language_model(phase):
    network = build(lora_rank=2).begin(3).begin(phase).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights = {name: value for name, value in network.named_parameters() if value.requires_grad}
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-2)
    network(["Sad?"], [clip(3, 1)], [sound(7)], ["no"]).loss.backward()
    optimizer.step()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == weights.keys()
    adapters = {name for name in before if "lora_" in name}
    assert len(adapters) == 2 * 4 * network.language_model.config.num_hidden_layers
    assert {name for name in moved if name.startswith("language_model.")} == (adapters if phase == 3 else set())
    assert {name.split(".")[0] for name in moved - adapters} == set(PHASES[phase]) - {"language_model"} - (
        {"face_attention"}
    )
    assert network.language_model.training == (phase == 3)


@pytest.mark.parametrize("phase", [1, 3])
def test_lora_begins_as_the_language_model_itself_and_is_kept_without_it(tmp_path, phase):
    plain = OmniEmotion(SMALL, llama(), words())
    network = OmniEmotion(replace(SMALL, lora_rank=2), copy.deepcopy(plain.language_model), words())
    torch.testing.assert_close(network(["Sad?"]).logits, plain(["Sad?"]).logits)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.add_(torch.randn_like(weight) * ("lora_B" in name))
    told = network(["Sad?"], [clip(2)], [sound(3)]).logits
    assert not torch.allclose(network(["Sad?"]).logits, plain(["Sad?"]).logits, atol=1e-2)
    network.begin(phase).save_pretrained(tmp_path, language_model=False)
    assert {"lora_A", "lora_B"} == {
        name.split(".")[-3] for name in load_file(tmp_path / "model.safetensors") if name.startswith("language_model.")
    }
    again = OmniEmotion.from_pretrained(tmp_path, copy.deepcopy(plain.language_model))
    torch.testing.assert_close(again(["Sad?"], [clip(2)], [sound(3)]).logits, told)
    with pytest.raises(ValueError, match="unknown to this model"):
        OmniEmotion.from_pretrained(tmp_path, copy.deepcopy(plain.language_model), lora_rank=0)


def test_a_cross_attention_begins_as_nothing():
    """So that faces are told as without it until it has learned."""
    network = OmniEmotion(replace(SMALL, fusion="cross"), llama(), words())
    [tokens] = network.encode_video([clip(3)])
    network.face_attention.in_proj_weight.data.zero_()
    torch.testing.assert_close(network.encode_video([clip(3)])[0], tokens)
    assert (tokens.abs().amax(1) > 0).all()


# --- words ---------------------------------------------------------------------------------------------------


def test_prompts_are_the_papers_template_in_the_language_models_chat(model):
    both = "<|im_start|>user\n<vision_feature><audio_feature>\nSad?<|im_end|>\n<|im_start|>assistant\n"
    assert model.prompt("Sad?", video=True, audio=True) == both
    assert model.prompt("Sad?", video=True, audio=False) == model.prompt("Sad?", video=False, audio=True) == both
    alone = model.prompt("Sad?", video=False, audio=False)
    assert alone == "<|im_start|>user\nSad?<|im_end|>\n<|im_start|>assistant\n"
    assert "audio" not in build(audio_branch=False).prompt("Sad?", video=True, audio=False)


def test_a_tokenizers_own_chat_format_comes_first():
    tokenizer = words()
    tokenizer.chat_template = "<s>{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    network = OmniEmotion(SMALL, llama(), tokenizer)
    assert network.prompt("Sad?", video=False, audio=False) == "<s>[Sad?]"
    tokenizer._tokenizer.post_processor = begins_with("<s>", tokenizer.bos_token_id)
    assert network.prompt("Sad?", video=False, audio=False) == "[Sad?]", "the tokenizer puts <s> there itself"


def begins_with(token: str, number: int):
    from tokenizers.processors import TemplateProcessing

    return TemplateProcessing(single=f"{token} $A", special_tokens=[(token, number)])


def test_text_alone_is_the_language_model_itself(model):
    ids = torch.tensor([words()(model.prompt("Sad?", video=False, audio=False)).input_ids])
    torch.testing.assert_close(model(["Sad?"]).logits, model.language_model(ids).logits)


def test_answers_end_with_the_language_models_own_mark(model):
    assert model.stop == "</s>"
    _, learned = model.lengths(["?"], [clip(2)], [sound(3)], ["no"])
    assert learned == [len(words()("no").input_ids) + 1]


def test_loss_is_of_the_answers_alone(model):
    questions, answers = ["Sad?", "How does she feel?"], ["a little", "no"]
    output = model(questions, [clip(2), clip(3, 1)], [sound(3), sound(12)], answers)
    logprobs = output.logits.log_softmax(-1)
    total, count = 0.0, 0
    for row, answer in enumerate(answers):
        target = words()(f"{answer}</s>").input_ids
        total -= sum(logprobs[row, k - len(target) - 1, token] for k, token in enumerate(target))
        count += len(target)
    torch.testing.assert_close(output.loss, total / count)


# --- files ---------------------------------------------------------------------------------------------------


def llava(tied: bool) -> LlavaOnevisionForConditionalGeneration:
    vision = SiglipVisionConfig(
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=42,
        patch_size=14,
        vision_use_head=False,
    )
    text = {"hidden_size": HIDDEN, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = Qwen2Config(**text, num_key_value_heads=2, vocab_size=len(words()), tie_word_embeddings=tied)
    ids = {"image_token_index": 5, "video_token_index": 6}
    return loud(
        LlavaOnevisionForConditionalGeneration(LlavaOnevisionConfig(vision_config=vision, text_config=text, **ids))
    )


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def released(request, whisper, tmp_path):
    """Folders and the file, and what is in them."""
    source, face = llava(request.param), loud(Release())
    source.save_pretrained(tmp_path / "llava")
    words().save_pretrained(tmp_path / "llava")
    whisper.save_pretrained(tmp_path / "whisper")
    torch.save({KEY: face.state_dict()}, tmp_path / "face.pt")
    return source, face, tmp_path


def load(folder, **changes) -> OmniEmotion:
    own = {"frames": 3, "face": FACE, **changes}
    return OmniEmotion.from_released(
        folder / "llava", folder / "whisper", folder / "face.pt", dtype=torch.float32, **own
    )


def test_released_folders(released, whisper: WhisperModel):
    """What LLaVA-OneVision makes of a video and of words, FaceXFormer of faces and Whisper of sound, this does, too."""
    source, face, folder = released
    network = load(folder)
    shown, heard = clip(3), sound(13)
    with torch.no_grad():
        [tokens] = network.encode_video([shown])
        video = source.model.get_video_features(shown.frames[None], return_dict=True).pooler_output[0]
        torch.testing.assert_close(tokens[: len(video)], video, atol=1e-4, rtol=1e-4)
        fused = torch.nn.functional.adaptive_avg_pool2d(face.fused(shown.faces), 2).flatten(2).transpose(1, 2)
        torch.testing.assert_close(network.see([shown])[0].faces, fused, atol=1e-4, rtol=1e-4)
        states = whisper.encoder(heard.heard).last_hidden_state.flatten(0, 1)[: 3 * 13]
        torch.testing.assert_close(network.ears([heard])[0], states.unflatten(0, (13, 3)).mean(1), atol=1e-4, rtol=1e-4)
        ids = torch.tensor([words()("why?").input_ids])
        torch.testing.assert_close(network.language_model(ids).logits, source(ids).logits)
    assert not [name for name, p in network.named_parameters() if p.is_meta]
    assert isinstance(network.language_model, Qwen2ForCausalLM) and not network.training
    network.save_pretrained(folder / "ours")
    with torch.no_grad():
        expected = network(["Sad?"], [shown], [heard]).logits
        torch.testing.assert_close(
            OmniEmotion.from_pretrained(folder / "ours")(["Sad?"], [shown], [heard]).logits, expected
        )


def test_released_weights_that_do_not_fit_are_named(released):
    _, _, folder = released
    weights = load_file(folder / "llava" / "model.safetensors")
    cut = {name: value for name, value in weights.items() if not name.endswith("linear_2.bias")}
    save_file(cut, folder / "llava" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"llava: 1 missing weights \(such as .*multi_modal_projector.linear_2.bias"):
        load(folder)
    save_file({**weights, "lora": torch.ones(2)}, folder / "llava" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"llava: 1 unexpected weights \(such as .*lora\)"):
        load(folder)
    save_file(weights, folder / "llava" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="no torch checkpoint"):
        OmniEmotion.from_released(folder / "llava", folder / "whisper", folder / "no.pt", dtype=torch.float32)


@pytest.mark.parametrize("row", ABLATIONS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_saved_and_loaded(tmp_path, row, fusion):
    network = build(fusion=fusion, **ABLATIONS[row])
    heard = None if "audio_branch" in ABLATIONS[row] else [sound(12)]
    with torch.no_grad():
        expected = network(["Sad?"], [clip(3, 1)], heard).logits
        network.save_pretrained(tmp_path)
        loaded = OmniEmotion.from_pretrained(tmp_path)
        assert not loaded.training and loaded.config == network.config
        torch.testing.assert_close(loaded(["Sad?"], [clip(3, 1)], heard).logits, expected)
    [file] = [path.name for path in tmp_path.iterdir() if path.suffix not in {".json", ".jinja"}]
    assert file == "model.safetensors"


def test_ablations_and_fusions_begin_from_one_checkpoint(model, tmp_path):
    model.save_pretrained(tmp_path)
    whole = model.state_dict()
    for changes in ({"fusion": "cross"}, {"fusion": "frame"}, *ABLATIONS.values()):
        network = OmniEmotion.from_pretrained(tmp_path, **changes)
        own = network.state_dict()
        for name in own.keys() & whole.keys():
            assert torch.equal(own[name], whole[name]), name
        assert {name.split(".")[0] for name in own.keys() - whole.keys()} <= {"face_attention"}
        network(["?"], [clip(2)], answers=["no"])


def test_folders_that_do_not_fit_are_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    weights = load_file(tmp_path / "model.safetensors")
    save_file({n: v for n, v in weights.items() if n != "audio_projector.0.weight"}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"audio_projector.0.weight is/are missing"):
        OmniEmotion.from_pretrained(tmp_path)
    save_file({**weights, "audio_projector.9.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"audio_projector.9.weight is/are unknown"):
        OmniEmotion.from_pretrained(tmp_path, face_branch=True)
    (tmp_path / "config.json").write_text(json.dumps({**config, "fusoin": "clip"}))
    with pytest.raises(ValueError, match="OmniEmotionConfig has no fusoin"):
        OmniEmotion.from_pretrained(tmp_path)


# --- input ---------------------------------------------------------------------------------------------------


def test_pixels_faces_and_sound_are_prepared_as_their_encoders_expect(model):
    white = model.pixels(torch.full((2, 50, 90, 3), 255, dtype=torch.uint8))
    assert white.shape == (2, 3, 42, 42)
    torch.testing.assert_close(white, torch.ones_like(white))  # SigLIP's mean and deviation are 0.5
    torch.testing.assert_close(model.pixels(torch.zeros(1, 9, 9, 3, dtype=torch.uint8))[0, 0, 0, 0], torch.tensor(-1.0))
    assert model.face_pixels(torch.zeros(4, 30, 30, 3, dtype=torch.uint8)).shape == (4, 3, 56, 56)
    heard = model.hear(waveform(32_000), 16_000)
    assert heard.tokens == math.ceil(2 / 0.06) and heard.heard.shape == (4, 20, 60)
    assert model(["?"], [OmniClip(white)], [heard]).logits.isfinite().all()


@pytest.mark.parametrize(
    ("faces", "found"),
    [
        (None, [True, False, False]),
        (noise(2, 3, 56, 56), None),
        (noise(2, 3, 56, 56), [True, False, False]),
        (noise(2, 3, 56, 56), [True, True]),
        (noise(0, 3, 56, 56), [False, False, False]),
    ],
)
def test_faces_that_are_not_those_of_the_frames_are_refused(faces, found):
    with pytest.raises(ValueError, match="give each frame with a face its crop"):
        OmniClip(noise(3, 3, 42, 42), faces, None if found is None else torch.tensor(found))


def test_bad_input(model):
    with pytest.raises(ValueError, match="this model has no audio branch; leave audio out"):
        build(audio_branch=False)(["?"], [clip(2)], [sound(3)])
    with pytest.raises(ValueError, match="frames of 1 clips for 2 questions"):
        model(["a", "b"], [clip(2)])
    with pytest.raises(ValueError, match="a clip without frames"):
        model(["a"], [OmniClip(noise(0, 3, 42, 42))])
    with pytest.raises(ValueError, match=r"leave <vision_feature>, <audio_feature> to the prompt"):
        model(["what is <vision_feature>?"], [clip(2)])
    with pytest.raises(ValueError, match="fusion is 'sum'; it must be one of 'frame', 'cross', 'clip'"):
        replace(SMALL, fusion="sum")


def test_half_precision():
    network = build(fusion="cross").to(torch.bfloat16)
    assert network(["Sad?"], [clip(3, 1)], [sound(12)], ["no"]).loss.isfinite()
    # Frozen encoders and language model in half precision around projectors that train in single precision.
    mixed = build(fusion="cross").begin(2)
    for part in ("tower", "face_encoder", "ears", "language_model"):
        mixed.get_submodule(part).to(torch.bfloat16)
    mixed(["Sad?"], [clip(3, 1)], [sound(12)], ["no"]).loss.backward()
    assert mixed.face_projector[0].weight.grad.dtype == torch.float32


def test_it_learns_what_each_modality_tells():
    """Planted: an answer's letters are the brightness of frames, that of faces, and the loudness of the sound."""
    torch.manual_seed(0)
    tokenizer = words()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"  # short, as every letter is a token
    network = OmniEmotion(SMALL, llama(), tokenizer).begin(3)
    for part in network.published:  # fresh ones hardly tell one input from another
        loud(network.get_submodule(part))
    signs = [(a, b, c) for a in (-1.0, 1.0) for b in (-1.0, 1.0) for c in (-1.0, 1.0)]
    clips = [OmniClip(torch.full((2, 3, 42, 42), a), torch.full((2, 3, 56, 56), b)) for a, b, _ in signs]
    sounds = [Sound(torch.full((1, 20, 60), c) * torch.linspace(0, 1, 60), 3) for _, _, c in signs]
    answers = ["db"[a > 0] + "sf"[b > 0] + "ql"[c > 0] for a, b, c in signs]
    with torch.no_grad():
        clips, sounds = network.see(clips), network.listen(sounds)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=6e-3)
    for _ in range(100):
        loss = network(["?"] * 8, clips, sounds, answers).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    assert network.generate(["?"] * 8, clips, sounds, max_new_tokens=10) == answers
    without = network.generate(["?"] * 8, [replace(each, faces=None) for each in clips], sounds, max_new_tokens=10)
    assert sum(one == other for one, other in zip(without, answers, strict=True)) <= 4


def test_smollm2_is_asked_in_its_own_format(smollm2_folder):
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder)
    network = OmniEmotion(SMALL, llama(vocab_size=len(tokenizer)), tokenizer)
    text = network.prompt("Sad?", video=True, audio=True)
    assert text.startswith("<|im_start|>system\n") and text.endswith("<|im_start|>assistant\n")
    assert network._ids(text, first=True)[0] == tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert network.stop == "<|im_end|>"
    _, learned = network.lengths(["Sad?"], [clip(2)], [sound(3)], ["no"])
    assert learned == [len(tokenizer("no", add_special_tokens=False).input_ids) + 1]


def test_smollm2_learns_turns_as_its_chat_format_writes_them(smollm2_folder):
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder)
    network = OmniEmotion(SMALL, llama(vocab_size=len(tokenizer)), tokenizer)
    turns = [{"role": "user", "content": "Sad?"}, {"role": "assistant", "content": "{no} braces"}]
    written = tokenizer.apply_chat_template(turns, tokenize=False).removesuffix("\n")
    learned = network.prompt("Sad?", video=False, audio=False) + network.reply.format(
        answer="{no} braces", stop=network.stop
    )
    assert learned == written
