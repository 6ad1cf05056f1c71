"""Video-LLaMA: sizes, released files by an inverse mapping, batches, long clips, and that it learns at all."""

from __future__ import annotations

import copy
import json
import math
import re
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import Blip2VisionConfig, Blip2VisionModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from reaffect.models.imagebind import AudioConfig, ImageBindConfig, VisionConfig
from reaffect.models.video_llama import VideoLLaMA, VideoLLaMAConfig, normalised
from test_models_imagebind import released_weights
from test_models_qformer import lavis_shapes, lavis_weights

SMALL = VideoLLaMAConfig(
    image_size=28,
    tower_width=24,
    tower_mlp=40,
    tower_layers=2,
    tower_heads=4,
    width=32,
    mlp=48,
    heads=4,
    image_layers=2,
    image_queries=4,
    video_queries=3,
    audio_queries=2,
    frame_positions=4,
    segment_positions=3,
    audio=AudioConfig(width=16, layers=2, heads=4, output=12, mel_bins=36, mel_frames=56),
)


def words() -> PreTrainedTokenizerFast:
    """A token a byte: every text has tokens, and they read back as they were."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: k for k, letter in enumerate(letters)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def llama(**options) -> LlamaForCausalLM:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(**{**sizes, "vocab_size": len(words()), "eos_token_id": words().eos_token_id, **options})
    )


def loud(model: torch.nn.Module) -> torch.nn.Module:
    """With weights large enough for every input to matter."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.3 if p.ndim > 1 else 0.1) + (p.ndim == 1) * 0.5)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> VideoLLaMA:
    return loud(VideoLLaMA(SMALL, llama(), words()))


pytestmark = pytest.mark.usefixtures("on_one_thread")


def frames(*counts: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 3, 28, 28, generator=generator) for n in counts]


def segments(*counts: int, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 1, 36, 56, generator=generator) for n in counts]


def linear(out: int, into: int) -> int:
    return out * into + out


def test_sizes_of_the_paper():
    """The tower's 986 M are those that LAVIS prints, Vicuna's 6.74 B those of LLaMA-7B; the others by formula."""
    with torch.device("meta"):
        network = VideoLLaMA(VideoLLaMAConfig(), LlamaForCausalLM(LlamaConfig()), words())
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    w, mlp = 1408, 6144
    block = 4 * w + 3 * w * w + 3 * w + linear(w, w) + linear(mlp, w) + linear(w, mlp)
    assert count["tower"] == 39 * block + linear(w, 3 * 14 * 14) + w + 257 * w + 2 * w == 985_952_256
    small = {
        "video_qformer": (32, 768, 18_929_664),
        "audio_qformer": (8, 1024, 19_697_664),
    }
    for name, (queries, encoder, expected) in small.items():
        shapes = lavis_shapes(768, 3072, 2, encoder, queries, every=1).values()
        assert count[name] == queries * 768 + sum(math.prod(shape) for shape in shapes) == expected
    assert count["image_qformer"] == 105_162_240
    assert count["ears"] == 86_235_648
    assert count["frame_positions"] == 32 * 768
    assert count["segment_positions"] == 8 * 1024
    assert count["video_projection"] == count["audio_projection"] == linear(4096, 768)
    assert count["language_model"] == 6_738_415_616
    video = network.encode_video([torch.empty(32, 3, 224, 224, device="meta")] * 2)
    audio = network.encode_audio([torch.empty(210, 1, 128, 204, device="meta")])
    assert video.shape == (2, 32, 4096)
    assert audio.shape == (1, 8, 4096)


# Released files, written from the names as they were read in the authors' repositories, not from our patterns.


def eva_file(tower: dict[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """`eva_vit_g.pth` with the weights of a Blip2VisionModel; the last block is the one that BLIP-2 leaves out."""
    file = {
        "cls_token": tower["embeddings.class_embedding"],
        "pos_embed": tower["embeddings.position_embedding"],
        "patch_embed.proj.weight": tower["embeddings.patch_embedding.weight"],
        "patch_embed.proj.bias": tower["embeddings.patch_embedding.bias"],
        "norm.weight": torch.ones(3),
        "head.bias": torch.ones(3),
        f"blocks.{layers}.norm1.weight": torch.ones(3),
    }
    for k in range(layers):
        ours, block = f"encoder.layers.{k}.", f"blocks.{k}."
        query, key, value = tower[ours + "self_attn.qkv.bias"].chunk(3)
        assert not key.any()
        file |= {block + "attn.q_bias": query, block + "attn.v_bias": value}
        file[block + "attn.qkv.weight"] = tower[ours + "self_attn.qkv.weight"]
        for kind in ("weight", "bias"):
            file[f"{block}attn.proj.{kind}"] = tower[f"{ours}self_attn.projection.{kind}"]
            for n in "12":
                file[f"{block}norm{n}.{kind}"] = tower[f"{ours}layer_norm{n}.{kind}"]
                file[f"{block}mlp.fc{n}.{kind}"] = tower[f"{ours}mlp.fc{n}.{kind}"]
    return file


def bert(prefix: str, layers: int, encoder: int, queries: int, every: int, seed: int) -> dict[str, torch.Tensor]:
    return lavis_weights(lavis_shapes(32, 48, layers, encoder, queries, every), f"{prefix}Qformer.bert.", seed)


@pytest.fixture
def released(tmp_path):
    """The five files, and what they hold by part."""
    tower = loud(Blip2VisionModel(Blip2VisionConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=14
    )))  # fmt: skip
    for layer in tower.encoder.layers:
        layer.self_attn.qkv.bias.data[24:48] = 0
    g = torch.Generator().manual_seed(3)
    blip = {
        "query_tokens": torch.randn(1, 4, 32, generator=g),
        "ln_vision.weight": tower.post_layernorm.weight.data,
        "ln_vision.bias": tower.post_layernorm.bias.data,
        **bert("", 2, 24, 4, 2, seed=4),
        "Qformer.cls.predictions.bias": torch.ones(3),
        "Qformer.bert.embeddings.word_embeddings.weight": torch.ones(3),
        "Qformer.bert.embeddings.position_ids": torch.ones(3),
        "Qformer.bert.encoder.layer.0.intermediate.dense.weight": torch.ones(3),
        "Qformer.bert.encoder.layer.0.output.LayerNorm.weight": torch.ones(3),
        "t5_proj.weight": torch.ones(3),
    }
    vision = {
        "llama_proj.weight": torch.randn(32, 32, generator=g),
        "llama_proj.bias": torch.randn(32, generator=g),
        "video_query_tokens": torch.randn(1, 3, 32, generator=g),
        "video_frame_position_embedding.weight": torch.randn(4, 32, generator=g),
        **bert("video_", 2, 32, 3, 1, seed=5),
        "video_Qformer.bert.embeddings.position_ids": torch.ones(3),
        "llama_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(3),
    }
    audio = {
        "audio_llama_proj.weight": torch.randn(32, 32, generator=g),
        "audio_llama_proj.bias": torch.randn(32, generator=g),
        "audio_query_tokens": torch.randn(1, 2, 32, generator=g),
        "audio_position_embedding.weight": torch.randn(3, 12, generator=g),
        **bert("audio_", 2, 12, 2, 1, seed=6),
        "audio_encoder.modality_postprocessors.audio.1.log_logit_scale": torch.ones(()),
    }
    huge = released_weights(ImageBindConfig(SMALL.audio, VisionConfig(width=8, layers=1, heads=2, image_size=28)))
    content = {
        "eva_vit_g.pth": eva_file(tower.state_dict(), 2),
        "blip2_pretrained_flant5xxl.pth": {"model": blip},
        "imagebind_huge.pth": huge,
        "finetune-vicuna7b-v2.pth": {"model": vision, "epoch": 3, "config": {"run": {"lr": 1e-4}}, "scaler": None},
        "finetune_vicuna7b_audiobranch.pth": {"model": audio, "optimizer": {"state": {}}},
    }
    for name, file in content.items():
        torch.save(file, tmp_path / name)
    return tower, content, [tmp_path / name for name in content]


def test_released_files(released):
    tower, content, paths = released
    network = VideoLLaMA(SMALL, llama(), words()).eval()
    before = copy.deepcopy(network.language_model.state_dict())
    network.load_original(paths)
    pixels = frames(2)[0]
    tower.post_layernorm.eps = 1e-5
    torch.testing.assert_close(network.tower(pixels).last_hidden_state, tower(pixels).last_hidden_state)
    own = network.state_dict()
    blip, vision, audio = (content[path.name].get("model") for path in (paths[1], *paths[3:]))
    for name, value in {
        "image_qformer.query_tokens": blip["query_tokens"],
        "video_qformer.query_tokens": vision["video_query_tokens"],
        "audio_qformer.query_tokens": audio["audio_query_tokens"],
        "frame_positions.weight": vision["video_frame_position_embedding.weight"],
        "segment_positions.weight": audio["audio_position_embedding.weight"],
        "video_projection.weight": vision["llama_proj.weight"],
        "audio_projection.bias": audio["audio_llama_proj.bias"],
        "ears.cls_token": content["imagebind_huge.pth"]["modality_preprocessors.audio.cls_token"],
    }.items():
        torch.testing.assert_close(own[name], value)
    # That the Q-Formers then compute what the released ones do is tested with them.
    key = "encoder.layer.1.crossattention"
    theirs = audio[f"audio_Qformer.bert.{key}.self.key.weight"]
    torch.testing.assert_close(own[f"audio_qformer.qformer.{key}.attention.key.weight"], theirs)
    assert "image_qformer.qformer.encoder.layer.1.crossattention.attention.key.weight" not in own
    for name, value in network.language_model.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_missing_unknown_and_misshapen_weights(released):
    _, content, paths = released
    network = VideoLLaMA(SMALL, llama(), words())
    with pytest.raises(ValueError, match=r"finetune-vicuna7b-v2.pth: audio_projection.bias.* and \d+ more are missing"):
        network.load_original(paths[:-1])
    audio = content[paths[-1].name]["model"]
    torch.save({"model": {**audio, "llama_model.lm_head.weight": torch.ones(3)}}, paths[-1])
    with pytest.raises(ValueError, match=r"audiobranch.pth: llama_model.lm_head.weight is/are unknown"):
        network.load_original(paths)
    torch.save({"model": {**audio, "audio_query_tokens": torch.ones(1, 9, 32)}}, paths[-1])
    with pytest.raises(ValueError, match=r"query_tokens is \(1, 9, 32\), this model's \(1, 2, 32\)"):
        network.load_original(paths)


def test_prompts(model):
    assert model.prompt("Sad?", video=False, audio=False) == "###Human: Sad?###Assistant:"
    assert model.prompt("Sad?", video=True, audio=False) == ("###Human: <Video><ImageHere></Video> Sad?###Assistant:")
    both = model.prompt("Sad?", video=True, audio=True)
    assert both.index("<AudioHere>") < both.index("<ImageHere>")
    assert both.endswith("based on what you have just seen and heard. Sad?###Assistant:")
    assert "<ImageHere>" not in model.prompt("Sad?", video=False, audio=True)


def test_text_alone_is_the_language_model_itself(model):
    ids = torch.tensor([words()("###Human: Sad?###Assistant:").input_ids])
    torch.testing.assert_close(model(["Sad?"]).logits, model.language_model(ids).logits)
    tokens = model.language_model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
    assert model.generate(["Sad?"], max_new_tokens=6) == [words().decode(tokens).split("###")[0].strip()]


def test_soft_tokens_stand_in_the_slots(model):
    clip, sound = frames(3), segments(2)
    before, after = model.prompt("Sad?", video=True, audio=False).split("<ImageHere>")
    embed = model.language_model.get_input_embeddings()
    ids = [torch.tensor(words()(text).input_ids) for text in (before, after)]
    row = torch.cat([embed(ids[0]), model.encode_video(clip)[0], embed(ids[1])])
    expected = model.language_model(inputs_embeds=row[None]).logits
    torch.testing.assert_close(model(["Sad?"], clip).logits, expected)
    both = model(["Sad?"], clip, sound).logits
    assert both.shape[1] == length(model, "Sad?")
    assert (both[:, -1] - model(["Sad?"], clip, segments(2, seed=9)).logits[:, -1]).abs().max() > 1e-3
    assert (both[:, -1] - model(["Sad?"], frames(3, seed=9), sound).logits[:, -1]).abs().max() > 1e-3


def length(model, question: str) -> int:
    """Of a prompt with both slots filled, by 3 and 2 soft tokens; a letter is a token."""
    prompt = model.prompt(question, video=True, audio=True)
    return len(words()(re.sub("<(Image|Audio)Here>", "", prompt)).input_ids) + 3 + 2


def test_loss_is_of_the_answers_alone(model):
    questions, answers = ["Sad?", "How does she feel?"], ["a little", "no"]
    output = model(questions, frames(2, 4), segments(1, 3), answers)
    logprobs = output.logits.log_softmax(-1)
    total, count = 0.0, 0
    for row, answer in enumerate(answers):
        target = words()(f" {answer}\n###").input_ids
        total -= sum(logprobs[row, k - len(target) - 1, token] for k, token in enumerate(target))
        count += len(target)
    torch.testing.assert_close(output.loss, total / count)


def test_logits_of_answers_are_those_of_each_row_alone(model):
    """Padding changes nothing, and what is left out are the prompt's."""
    questions, answers = ["Sad?", "How does she feel?"], ["a little", "no"]
    clips, sounds = frames(2, 4), segments(1, 3)
    together = model(questions, clips, sounds, answers).logits
    for row, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        alone = model([question], [clips[row]], [sounds[row]], [answer]).logits
        torch.testing.assert_close(together[row : row + 1, -alone.shape[1] :], alone, atol=1e-5, rtol=1e-4)
        prompt = model([question], [clips[row]], [sounds[row]]).logits
        assert prompt.shape[1] == length(model, question)
        torch.testing.assert_close(alone[:, 0], prompt[:, -1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("longer", ["interpolate", "pool"])
def test_a_batch_answers_as_each_alone(longer):
    network = loud(VideoLLaMA(replace(SMALL, longer=longer), llama(), words()))
    questions = ["Sad?", "How does the player feel, and why?", "?"]
    clips, sounds = frames(2, 4, 9), segments(1, 3, 8)
    together = network.generate(questions, clips, sounds, max_new_tokens=12)
    alone = [
        network.generate([q], [f], [s], max_new_tokens=12)[0] for q, f, s in zip(questions, clips, sounds, strict=True)
    ]
    assert together == alone
    assert len(set(together)) == 3
    torch.testing.assert_close(network.encode_video(clips)[2:], network.encode_video(clips[2:]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_saved_and_loaded(model, tmp_path, tied):
    network = loud(VideoLLaMA(SMALL, llama(tie_word_embeddings=tied), words()))
    expected = network(["Sad?"], frames(3), segments(5)).logits
    network.save_pretrained(tmp_path / "whole")
    whole = VideoLLaMA.from_pretrained(tmp_path / "whole")
    assert not whole.training
    torch.testing.assert_close(whole(["Sad?"], frames(3), segments(5)).logits, expected)
    network.freeze("language_model").save_pretrained(tmp_path / "rest", language_model=False)
    rest = VideoLLaMA.from_pretrained(tmp_path / "rest", network.language_model)
    torch.testing.assert_close(rest(["Sad?"], frames(3), segments(5)).logits, expected)
    with pytest.raises(ValueError, match=r"language_model.* missing"):
        VideoLLaMA.from_pretrained(tmp_path / "rest")


def test_in_bfloat16_it_learns_by_an_attention_whose_gradients_are_quick_on_a_processor():
    network = VideoLLaMA(SMALL, llama(attention_dropout=0.0).bfloat16(), words()).train()
    attention = network.language_model.config
    learning = network.language_model(torch.tensor([[1, 2, 3]])).logits
    assert attention._attn_implementation == "eager"
    network.eval()
    assert attention._attn_implementation == "sdpa"
    torch.testing.assert_close(network.language_model(torch.tensor([[1, 2, 3]])).logits, learning, atol=2e-2, rtol=0)
    network.language_model.float()
    assert network.train().language_model.config._attn_implementation == "sdpa"


def test_bad_folders(model, tmp_path):
    with pytest.raises(ValueError, match="no checkpoint of VideoLLaMA"):
        VideoLLaMA.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "wdith": 3}))
    with pytest.raises(ValueError, match="VideoLLaMAConfig has no wdith"):
        VideoLLaMA.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "video_queries": 5}))
    with pytest.raises(ValueError, match=r"video_qformer.query_tokens is \(1, 3, 32\), this model's \(1, 5, 32\)"):
        VideoLLaMA.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="no checkpoint of VideoLLaMA"):
        VideoLLaMA.from_pretrained(tmp_path)


def test_bad_input(model):
    with pytest.raises(ValueError, match="frames of 1 clips for 2 questions"):
        model(["a", "b"], frames(2))
    with pytest.raises(ValueError, match="answers of 1 clips for 2 questions"):
        model(["a", "b"], frames(2, 2), answers=["a"])
    with pytest.raises(ValueError, match="a clip without audio"):
        model(["a", "b"], audio=segments(2, 0))
    with pytest.raises(ValueError, match=r"names the slots .*leave <ImageHere> to the prompt"):
        model(["what is <ImageHere>?"], frames(2))


def test_frozen_parts_stay_and_have_no_dropout():
    network = loud(VideoLLaMA(SMALL, llama(), words())).freeze(*VideoLLaMA.published).train()
    assert not network.image_qformer.training
    assert network.video_qformer.training
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(["Sad?"], frames(3), segments(2), ["no"]).loss.backward()
    optimizer.step()
    changed = {name.split(".")[0] for name, value in network.state_dict().items() if not value.equal(before[name])}
    assert changed == {name for name, _ in network.named_children()} - set(VideoLLaMA.published)


def test_half_precision():
    network = loud(VideoLLaMA(SMALL, llama(), words())).to(torch.bfloat16)
    loss = network(["Sad?"], frames(3), segments(2), ["no"]).loss
    assert network.encode_video(frames(3)).dtype == torch.bfloat16
    assert loss.isfinite()
    # A language model in half precision between parts that train in single precision.
    mixed = VideoLLaMA(SMALL, llama().to(torch.bfloat16), words())
    mixed(["Sad?"], frames(3), segments(2), ["no"]).loss.backward()
    assert mixed.video_projection.weight.grad.abs().max() > 0


def test_pixels(model):
    film = torch.randint(0, 256, (3, 40, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert model.pixels(film).shape == (3, 3, 28, 28)
    white = model.pixels(torch.full((1, 50, 90, 3), 255, dtype=torch.uint8))
    expected = (1 - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor(
        [0.26862954, 0.26130258, 0.27577711]
    )
    torch.testing.assert_close(white[0, :, 5, 5], expected)
    torch.testing.assert_close(normalised(film.permute(0, 3, 1, 2)[..., :28, :28]).shape, torch.Size([3, 3, 28, 28]))


def test_it_learns_what_it_sees_and_hears():
    """Planted: the answer's words are the brightness of the frames and the loudness of the sound."""
    torch.manual_seed(0)
    network = VideoLLaMA(SMALL, llama(), words())
    clips = [torch.full((2, 3, 28, 28), bright) for bright in (-1.0, -1.0, 1.0, 1.0)]
    sounds = [torch.full((2, 1, 36, 56), loudness) * torch.linspace(0, 1, 56) for loudness in (-1.0, 1.0) * 2]
    answers = ["dq", "dl", "bq", "bl"]
    optimizer = torch.optim.AdamW(network.parameters(), lr=6e-3)
    for _ in range(70):
        loss = network(["?"] * 4, clips, sounds, answers).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    assert network.generate(["?"] * 4, clips, sounds, max_new_tokens=10) == answers
    assert network.generate(["?"] * 4, clips[::-1], sounds, max_new_tokens=10) == ["bq", "bl", "dq", "dl"]
