"""BEATs against plain arithmetic on released names, its parts against transformers', and its loader."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from reaffect.models.beats import BEATs, BEATsConfig, mel_spectrogram

SMALL = BEATsConfig(
    embed_dim=12,
    encoder_layers=2,
    encoder_embed_dim=16,
    encoder_ffn_embed_dim=20,
    encoder_attention_heads=4,
    conv_pos=6,
    conv_pos_groups=2,
    num_buckets=8,
    max_distance=10,
    finetuned_model=True,
    predictor_class=5,
)
DROPOUTS = {"dropout": 0.0, "encoder_layerdrop": 0.05, "layer_wise_gradient_decay_ratio": 0.6}
RELEASED = asdict(SMALL) | DROPOUTS | {"layer_norm_first": False, "deep_norm": True, "activation_fn": "gelu"}
RELEASED |= {"gru_rel_pos": True, "relative_position_embedding": True, "conv_bias": False}


def released_shapes(c: BEATsConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released file, written from microsoft/unilm's modules."""
    w, inner, heads = c.encoder_embed_dim, c.encoder_ffn_embed_dim, c.encoder_attention_heads

    def linear(name, outer, width):
        return {f"{name}.weight": (outer, width), f"{name}.bias": (outer,)}

    def norm(name, width):
        return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    shapes = {"patch_embedding.weight": (c.embed_dim, 1, 16, 16)}
    shapes |= norm("layer_norm", c.embed_dim) | linear("post_extract_proj", w, c.embed_dim)
    shapes |= {"encoder.pos_conv.0.weight_g": (1, 1, c.conv_pos), "encoder.pos_conv.0.bias": (w,)}
    shapes |= {"encoder.pos_conv.0.weight_v": (w, w // c.conv_pos_groups, c.conv_pos)}
    shapes |= norm("encoder.layer_norm", w) | linear("predictor", c.predictor_class, w)
    for k in range(c.encoder_layers):
        layer = f"encoder.layers.{k}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}self_attn.{name}", w, w)
        shapes |= linear(f"{layer}self_attn.grep_linear", 8, w // heads)
        shapes |= {f"{layer}self_attn.grep_a": (1, heads, 1, 1)}
        shapes |= {f"{layer}self_attn.relative_attention_bias.weight": (c.num_buckets, heads)}
        shapes |= norm(f"{layer}self_attn_layer_norm", w) | norm(f"{layer}final_layer_norm", w)
        shapes |= linear(f"{layer}fc1", inner, w) | linear(f"{layer}fc2", w, inner)
    return shapes


def released_weights(config: BEATsConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {name: 0.4 * torch.randn(s, generator=generator) for name, s in released_shapes(config).items()}
    table = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
    return weights | {table.format(k): weights[table.format(0)] for k in range(config.encoder_layers)}


def bucket(distance: int, buckets: int, furthest: int) -> int:
    """T5's: near distances one each, far ones by their logarithm, those to the right in the upper half."""
    half = buckets // 2
    exact, far = half // 2, abs(distance)
    if far >= exact:
        far = min(half - 1, exact + int(math.log(far / exact) / math.log(furthest / exact) * (half - exact)))
    return far + (half if distance > 0 else 0)


def arithmetic(w: dict[str, Tensor], mels: Tensor, c: BEATsConfig) -> Tensor:
    """Scores of one spectrogram, head by head, from the paper's description and the released names alone."""

    def linear(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        return x * w[name + ".weight"] + w[name + ".bias"]

    patches = mels.unfold(0, 16, 16).unfold(1, 16, 16).flatten(0, 1).flatten(1)
    x = linear(norm(patches @ w["patch_embedding.weight"].flatten(1).T, "layer_norm"), "post_extract_proj")
    direction = w["encoder.pos_conv.0.weight_v"]
    length = torch.stack([direction[..., k].norm() for k in range(c.conv_pos)])
    kernel = direction / length * w["encoder.pos_conv.0.weight_g"]
    padded = functional.pad(x.T, (c.conv_pos // 2, c.conv_pos // 2))[None]
    moved = functional.conv1d(padded, kernel, w["encoder.pos_conv.0.bias"], groups=c.conv_pos_groups)
    x = norm(x + functional.gelu(moved[0, :, : len(x)].T), "encoder.layer_norm")
    places = range(len(x))
    near = torch.tensor([[bucket(key - query, c.num_buckets, c.max_distance) for key in places] for query in places])
    alpha, size = (2 * c.encoder_layers) ** 0.25, c.encoder_embed_dim // c.encoder_attention_heads
    for k in range(c.encoder_layers):
        layer = f"encoder.layers.{k}."
        query, key, value = (linear(x, f"{layer}self_attn.{name}_proj") for name in "qkv")
        read = []
        for head in range(c.encoder_attention_heads):
            part = slice(head * size, (head + 1) * size)
            gates = linear(query[:, part], layer + "self_attn.grep_linear")
            first, second = gates[:, :4].sum(1).sigmoid(), gates[:, 4:].sum(1).sigmoid()
            gate = first * (second * w[layer + "self_attn.grep_a"][0, head, 0, 0] - 1) + 2
            bias = gate[:, None] * w[layer + "self_attn.relative_attention_bias.weight"][near, head]
            read.append((query[:, part] @ key[:, part].T / math.sqrt(size) + bias).softmax(-1) @ value[:, part])
        x = norm(alpha * x + linear(torch.cat(read, 1), layer + "self_attn.out_proj"), layer + "self_attn_layer_norm")
        inner = functional.gelu(linear(x, layer + "fc1"))
        x = norm(alpha * x + linear(inner, layer + "fc2"), layer + "final_layer_norm")
    return linear(x, "predictor").mean(0)


@pytest.fixture
def released(tmp_path: Path) -> tuple[dict[str, Tensor], Path]:
    weights = released_weights(SMALL)
    torch.save({"cfg": RELEASED, "model": weights}, tmp_path / "BEATs_iter3.pt")
    return weights, tmp_path / "BEATs_iter3.pt"


@pytest.fixture
def sounds() -> Tensor:
    return 0.1 * torch.randn(2, 9000, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("training", [True, False])
def test_a_released_file_gives_what_arithmetic_gives(released, sounds, training):
    weights, path = released
    network = BEATs.load_original(path).train(training)
    expected = torch.stack([arithmetic(weights, mel_spectrogram(sound[None])[0], SMALL) for sound in sounds])
    with torch.no_grad():
        torch.testing.assert_close(network(sounds), expected, atol=1e-5, rtol=1e-4)


def test_names_are_the_released_ones():
    assert {name: tuple(value.shape) for name, value in BEATs(SMALL).state_dict().items()} == released_shapes(SMALL)


def test_layers_share_one_table():
    network = BEATs(SMALL)
    tables = {id(layer.self_attn.relative_attention_bias.weight) for layer in network.encoder.layers}
    assert len(tables) == 1


def test_the_gate_is_wavlms_but_for_what_it_reads(sounds):
    """With an identity as its query projection, WavLM's layer is ours: both gates then read the same."""
    own = BEATs(SMALL).encoder.layers[0].self_attn
    other = WavLMAttention(16, 4, num_buckets=8, max_distance=10)
    with torch.no_grad():
        own.q_proj.weight.copy_(torch.eye(16))
        own.q_proj.bias.zero_()
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            getattr(other, name).load_state_dict(getattr(own, name).state_dict())
        other.gru_rel_pos_const.copy_(own.grep_a)
        other.gru_rel_pos_linear.load_state_dict(own.grep_linear.state_dict())
        other.rel_attn_embed.load_state_dict(own.relative_attention_bias.state_dict())
        states = torch.randn(2, 30, 16, generator=torch.Generator().manual_seed(2))
        expected, _, _ = other(states)
        bias = other.compute_bias(30, 30)
        torch.testing.assert_close(own(states, bias), expected, atol=1e-5, rtol=1e-4)


def test_distances_fall_into_wavlms_buckets():
    encoder = BEATs(SMALL).encoder
    other = WavLMAttention(16, 4, num_buckets=8, max_distance=10)
    places = torch.arange(40)
    expected = other._relative_positions_bucket(places[None] - places[:, None])
    assert torch.equal(encoder._relative(torch.zeros(1, 40, 16)), expected)


@pytest.mark.filterwarnings("ignore:At least one mel filter")  # the lowest of 128 are narrower than a bin
def test_the_front_end_is_kaldis(sounds):
    """transformers' own Kaldi spectrogram, with the settings of torchaudio's `fbank`."""
    filters = mel_filter_bank(257, 128, 20, 8000, 16_000, mel_scale="kaldi", triangularize_in_mel_space=True)
    expected = spectrogram(
        sounds[0].double().numpy() * 2**15,
        window_function(400, "povey", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=float(np.finfo(np.float32).eps),
        remove_dc_offset=True,
    ).T
    ours = mel_spectrogram(sounds[:1])[0] * 2 * 6.55582 + 15.41663
    assert ours.shape == (1 + (9000 - 400) // 160, 128)
    np.testing.assert_allclose(ours.numpy(), expected, atol=2e-3)


def test_published_sizes():
    """90 M (Chen et al. 2022, Table 1); a fine-tuned one has 527 classes more."""
    with torch.device("meta"):
        pretrained, finetuned = BEATs(), BEATs(BEATsConfig(finetuned_model=True))
    counts = [sum(weight.numel() for weight in network.parameters()) for network in (pretrained, finetuned)]
    assert counts == [90_311_792, 90_311_792 + 527 * 769]


def test_silence_and_short_sounds_have_features(released):
    network = BEATs.load_original(released[1])
    assert network.shortest == 400 + 15 * 160
    with torch.no_grad():
        nothing = network.features(torch.zeros(1, 0))
        torch.testing.assert_close(nothing, network.features(torch.zeros(1, network.shortest)))
        short = 0.1 * torch.randn(1, 700, generator=torch.Generator().manual_seed(3))
        padded = functional.pad(short, (0, network.shortest - 700))
        torch.testing.assert_close(network.features(short), network.features(padded))
    assert nothing.isfinite().all()


def test_a_pretrained_model_has_no_classes(tmp_path):
    weights = {name: value for name, value in released_weights(SMALL).items() if not name.startswith("predictor")}
    torch.save({"cfg": RELEASED | {"finetuned_model": False}, "model": weights}, tmp_path / "beats.pt")
    network = BEATs.load_original(tmp_path / "beats.pt")
    assert network.features(torch.zeros(1, 3000)).shape == (1, 16)
    with pytest.raises(ValueError, match="features and no classes"):
        network(torch.zeros(1, 3000))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_norm_first": True}, "layer_norm_first is True; only BEATs with False"),
        ({"activation_fn": "glu"}, "activation_fn is 'glu'"),
        ({"deep_norm": False}, "deep_norm is False"),
        ({"encoder_ffn_embed_dim": 24}, r"fc1.weight is \(20, 16\), this model's \(24, 16\)"),
    ],
)
def test_other_variants_are_refused(released, change, message):
    weights, path = released
    torch.save({"cfg": RELEASED | change, "model": weights}, path)
    with pytest.raises(ValueError, match=f"BEATs_iter3.pt.*{message}"):
        BEATs.load_original(path)


def test_other_files_are_refused(released):
    weights, path = released
    sizes = {name: value for name, value in RELEASED.items() if name != "max_distance"}
    gone = {name: value for name, value in weights.items() if "layers.1.self_attn.grep_a" not in name}
    for content, message in (
        ({"model": weights}, "no sizes under 'cfg'"),
        ({"cfg": sizes, "model": weights}, "max_distance missing"),
        ({"cfg": RELEASED, "model": gone}, "layers.1.self_attn.grep_a .*missing"),
        ({"cfg": RELEASED, "model": weights | {"quantize.embedding": torch.ones(2)}}, "quantize.embedding .*unknown"),
        ({"cfg": RELEASED}, "no tensors by name under 'model'"),
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match=f"BEATs_iter3.pt: .*{message}"):
            BEATs.load_original(path)
