"""PandaGPT: sizes, the released delta by an inverse mapping, sums of senses, pairs and crops of frames."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM

from reaffect.models.pandagpt import PandaGPT, PandaGPTConfig
from reaffect.models.video_llama import VideoLLaMA
from test_models_imagebind import SMALL as SENSES
from test_models_imagebind import released_weights
from test_models_video_llama import frames, linear, llama, loud, segments, words

SMALL = PandaGPTConfig(lora_rank=4, lora_alpha=8, senses=SENSES)


@pytest.fixture
def model() -> PandaGPT:
    return loud(PandaGPT(SMALL, llama(), words()))


def test_sizes_of_the_paper():
    """LoRA of rank 32 on four projections of 32 layers, and one linear layer: 0.6 % of Vicuna-7B is learned."""
    with torch.device("meta"):
        network = PandaGPT(PandaGPTConfig(), LlamaForCausalLM(LlamaConfig()), words()).freeze(*PandaGPT.published)
    learned = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert learned == 32 * 4 * 32 * (4096 + 4096) + linear(4096, 1024) == 37_752_832
    assert sum(p.numel() for p in network.senses.parameters()) == 86_235_648 + 632_829_440
    assert sum(p.numel() for p in network.language_model.parameters()) == 6_738_415_616 + 33_554_432
    lora = network.language_model.peft_config["default"]
    assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (32, 32, 0.1)
    soft = network.encode([torch.empty(30, 3, 224, 224, device="meta")], [torch.empty(9, 1, 128, 204, device="meta")])
    assert soft["<ImageHere>"].shape == (1, 1, 4096)


@pytest.fixture
def released(tmp_path):
    g = torch.Generator().manual_seed(7)
    delta = {"llama_proj.weight": torch.randn(32, 12, generator=g), "llama_proj.bias": torch.randn(32, generator=g)}
    for layer in range(2):
        for kind in "qkvo":
            name = f"llama_model.base_model.model.model.layers.{layer}.self_attn.{kind}_proj.lora_"
            delta |= {name + "A.default.weight": torch.randn(4, 32, generator=g) * 0.3}
            delta |= {name + "B.default.weight": torch.randn(32, 4, generator=g) * 0.3}
    huge = released_weights(SENSES)
    paths = [tmp_path / "imagebind_huge.pth", tmp_path / "pytorch_model.pt"]
    torch.save(huge, paths[0])
    # As the authors save them: parameters, not plain tensors.
    torch.save({name: torch.nn.Parameter(value) for name, value in delta.items()}, paths[1])
    return delta, huge, paths


def test_released_delta(released):
    delta, huge, paths = released
    network = PandaGPT(SMALL, llama(), words()).eval()
    network.load_original(paths)
    torch.testing.assert_close(network.projection.weight.data, delta["llama_proj.weight"])
    torch.testing.assert_close(network.senses.vision.cls_token.data, huge["modality_preprocessors.vision.cls_token"])
    # LoRA by its definition, W + alpha / r x BA, in a language model that knows nothing of it.
    merged = llama().eval()
    for layer, block in enumerate(merged.model.layers):
        for kind in "qkvo":
            name = f"llama_model.base_model.model.model.layers.{layer}.self_attn.{kind}_proj.lora_"
            change = delta[name + "B.default.weight"] @ delta[name + "A.default.weight"] * 8 / 4
            getattr(block.self_attn, f"{kind}_proj").weight.data += change
    ids = torch.tensor([words()("### Human: Sad?\n### Assistant:").input_ids])
    torch.testing.assert_close(network(["Sad?"]).logits, merged(ids).logits)


def test_missing_and_unknown_weights(released):
    delta, _, paths = released
    network = PandaGPT(SMALL, llama(), words())
    with pytest.raises(ValueError, match=r"pytorch_model.pt: senses.audio.* and \d+ more are missing"):
        network.load_original(paths[1:])
    torch.save({**delta, "llama_model.lm_head.weight": torch.ones(1)}, paths[1])
    with pytest.raises(ValueError, match=r"pytorch_model.pt: llama_model.lm_head.weight is/are unknown"):
        network.load_original(paths)
    torch.save({"llama_proj.weight": delta["llama_proj.weight"]}, paths[1])
    with pytest.raises(ValueError, match=r"lora_A\.default\.weight.* missing"):
        network.load_original(paths)


def test_senses_are_means_and_their_tokens_are_added(model):
    clips, sounds = frames(4, 6), segments(3, 1)
    seen, heard, both = (
        model.encode(*given)["<ImageHere>"] for given in ((clips, None), (None, sounds), (clips, sounds))
    )
    assert both.shape == (2, 1, 32)
    torch.testing.assert_close(both, seen + heard)
    pairs = torch.stack([model.senses.vision(clips[0][k : k + 2].transpose(0, 1)[None])[0] for k in (0, 2)])
    torch.testing.assert_close(seen[0, 0], model.projection(pairs.mean(0)))
    torch.testing.assert_close(heard[0, 0], model.projection(model.senses.audio(sounds[0]).mean(0)))


def test_a_single_frame_is_seen_twice(model):
    frame = frames(1)
    torch.testing.assert_close(model.encode(frame, None), model.encode([frame[0].repeat(2, 1, 1, 1)], None))


@pytest.mark.parametrize("portrait", [False, True])
def test_three_crops_along_the_longer_side(model, portrait):
    film = torch.arange(84, dtype=torch.uint8).repeat(4, 28, 1)[..., None].expand(4, 28, 84, 3)
    views = model.pixels(film.transpose(1, 2) if portrait else film)
    assert views.shape == (12, 3, 28, 28)
    views = views.transpose(2, 3) if portrait else views
    colours = (views[:, 0, 0] * 0.26862954 + 0.48145466) * 255  # red of the first row, as it was
    for start, crop in zip((0, 28, 56), colours.split(4), strict=True):
        torch.testing.assert_close(crop, torch.arange(start, start + 28.0).expand(4, 28), atol=1e-3, rtol=0)


def test_an_odd_number_of_frames_keeps_pairs_within_a_crop(model):
    film = torch.randint(0, 256, (3, 40, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    views = model.pixels(film)
    assert views.shape == (12, 3, 28, 28)
    torch.testing.assert_close(views[2::4], views[3::4])


def test_prompt(model):
    assert model.prompt("Sad?", video=True, audio=True) == "### Human: <Img><ImageHere></Img> Sad?\n### Assistant:"
    assert model.prompt("Sad?", video=False, audio=False) == "### Human: Sad?\n### Assistant:"


def test_called_like_video_llama(model, tmp_path):
    """A batch answers as each alone, a step changes only what the paper trains, and a folder brings it all back."""
    questions, clips, sounds = ["Sad?", "How does she feel?"], frames(2, 6), segments(1, 3)
    answers = model.generate(questions, clips, sounds, max_new_tokens=8)
    asked = zip(questions, clips, sounds, strict=True)
    assert answers == [model.generate([q], [f], [s], max_new_tokens=8)[0] for q, f, s in asked]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.language_model.get_base_model().requires_grad_(False)
    for name, parameter in model.language_model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    model.freeze(*PandaGPT.published).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(questions, clips, sounds, ["yes", "sad"]).loss.backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed == {name for name in before if "lora_" in name or name.startswith("projection.")}
    model.eval().save_pretrained(tmp_path)
    loaded = PandaGPT.from_pretrained(tmp_path)
    assert isinstance(loaded.language_model, PeftModel)
    torch.testing.assert_close(loaded(questions, clips).logits, model(questions, clips).logits)
    assert {"prompt", "encode", "pixels", "load_original", "published"} <= set(vars(PandaGPT)) & set(vars(VideoLLaMA))


def test_small_delta_beside_a_published_language_model(tmp_path):
    model = PandaGPT(SMALL, llama(), words()).eval()
    model.save_pretrained(tmp_path, language_model=False)
    loaded = PandaGPT.from_pretrained(tmp_path, llama())
    torch.testing.assert_close(loaded(["Sad?"], frames(2)).logits, model(["Sad?"], frames(2)).logits)


def test_outputs_of_one_width():
    odd = replace(SENSES, audio=replace(SENSES.audio, output=8))
    with pytest.raises(ValueError, match="different widths"):
        PandaGPT(PandaGPTConfig(senses=odd), llama(), words())
