"""Whisper's ears: sizes, a token each 60 ms, windows one after the other, and released folders."""

from __future__ import annotations

import math

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperModel

from reaffect.models.whisper_audio import Sound, WhisperAudioConfig, WhisperEars, hear, released_ears
from test_models_video_llama import linear, loud

SMALL = WhisperAudioConfig(mel_bins=20, width=16, mlp=24, layers=2, heads=2, positions=30)
WINDOW = 30 * 2 * 160
TOKENS = 10

pytestmark = pytest.mark.usefixtures("on_one_thread")


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


@pytest.fixture(scope="module")
def ears() -> WhisperEars:
    return loud(WhisperEars(SMALL))


def test_sizes_of_the_paper():
    """By formula: Whisper-large-v3's encoder has 32 layers of 1280, keys without a bias, 128 mel bins, 1500 places."""
    with torch.device("meta"):
        large = WhisperEars(WhisperAudioConfig())
    w = 1280
    layer = 4 * w * w + 3 * w + linear(5120, w) + linear(w, 5120) + 4 * w
    stem = linear(w, 3 * 128) + linear(w, 3 * w)
    count = sum(p.numel() for p in large.parameters())
    assert count == 32 * layer + stem + 1500 * w + 2 * w == 636_968_960
    minute = Sound(torch.empty(3, 128, 3000, device="meta"), 1001)
    assert [each.shape for each in large([minute, minute])] == [(1001, 1280)] * 2


def test_mels_are_librosas():
    """Of a window without padding, so that only the ends of the recording are mirrored by both."""
    waveform = noise(WINDOW)
    power = librosa.feature.melspectrogram(
        y=waveform, sr=16_000, n_fft=400, hop_length=160, n_mels=20, fmax=8000, pad_mode="reflect"
    )
    level = np.log10(np.maximum(power[:, :-1], 1e-10))
    expected = (np.maximum(level, level.max() - 8) + 4) / 4
    np.testing.assert_allclose(hear(waveform, 16_000, SMALL).heard[0], expected, atol=1e-4)


@settings(max_examples=25)
@given(samples=st.integers(400, 4 * WINDOW))
def test_a_token_for_each_60_ms_begun(ears, samples):
    sound = hear(noise(samples), 16_000, SMALL)
    assert sound.heard.shape == (math.ceil(samples / WINDOW), 20, 60)
    assert sound.tokens == math.ceil(samples / 16_000 / 0.06 - 1e-9)
    with torch.no_grad():
        assert ears([sound])[0].shape == (sound.tokens, 16)


def test_thirty_seconds_are_500_tokens():
    sound = hear(np.zeros(30 * 8000, np.float32), 8000)
    assert sound.heard.shape == (1, 128, 3000) and sound.tokens == 500
    assert hear(np.zeros(3 * 16_000, np.float32)).tokens == 50
    kept = hear(np.zeros(3 * 16_000, np.float32), 16_000, WhisperAudioConfig(keep_silence=True))
    assert kept.tokens == 500


def test_tokens_are_means_of_three_states(ears):
    sound = hear(noise(WINDOW), 16_000, SMALL)
    with torch.no_grad():
        states = ears.encoder(sound.heard).last_hidden_state[0]
        [tokens] = ears([sound])
    for k in range(TOKENS):
        torch.testing.assert_close(tokens[k], (states[3 * k] + states[3 * k + 1] + states[3 * k + 2]) / 3)


def test_long_sound_is_its_windows_one_after_the_other(ears):
    waveform = noise(2 * WINDOW + 5 * 960, seed=1)
    windows = [hear(waveform[start : start + WINDOW], 16_000, SMALL) for start in (0, WINDOW, 2 * WINDOW)]
    with torch.no_grad():
        whole, *parts = ears([hear(waveform, 16_000, SMALL), *windows])
    assert [len(part) for part in parts] == [10, 10, 5]
    torch.testing.assert_close(whole, torch.cat(parts), atol=1e-5, rtol=1e-4)


def test_tokens_that_sounds_bring_are_left_as_they_are(ears):
    sounds = [hear(noise(samples, seed=samples), 16_000, SMALL) for samples in (5000, 25_000)]
    with torch.no_grad():
        fresh = ears(sounds)
        mixed = ears([sounds[0], Sound(fresh[1], len(fresh[1]))])
    assert torch.equal(mixed[1], fresh[1])
    torch.testing.assert_close(mixed[0], fresh[0], atol=1e-5, rtol=1e-4)


def test_resampled_sound_is_as_long(ears):
    assert hear(noise(8000), 8000, SMALL).tokens == hear(noise(16_000), 16_000, SMALL).tokens == 17


@pytest.mark.parametrize("waveform", [np.zeros((2, 16_000)), np.zeros(399), np.zeros(0), np.full(1000, np.nan)])
def test_waveforms_that_cannot_be_heard_are_refused(waveform):
    with pytest.raises(ValueError, match="expected mono, finite, of at least 25 ms"):
        hear(waveform, 16_000, SMALL)


def test_windows_that_tokens_do_not_fill_are_refused():
    with pytest.raises(ValueError, match="31 positions a window; they must be a multiple of 3"):
        WhisperAudioConfig(positions=31)
    with pytest.raises(ValueError, match="a sound of 0 tokens; leave the modality out"):
        Sound(torch.zeros(1, 20, 60), 0)


@pytest.fixture(scope="module")
def whisper() -> WhisperModel:
    sizes = {"d_model": 16, "encoder_ffn_dim": 24, "encoder_layers": 2, "encoder_attention_heads": 2}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8, "max_target_positions": 8}
    ids = {"vocab_size": 9, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    return loud(WhisperModel(WhisperConfig(num_mel_bins=20, max_source_positions=30, **sizes, **decoder, **ids)))


def test_released_folder(whisper, tmp_path):
    whisper.save_pretrained(tmp_path)
    ears = released_ears(tmp_path, torch.float32)
    assert ears.config == SMALL and not ears.training
    sound = hear(noise(WINDOW), 16_000, SMALL)
    with torch.no_grad():
        states = whisper.encoder(sound.heard).last_hidden_state[0]
        torch.testing.assert_close(ears([sound])[0], states.unflatten(0, (-1, 3)).mean(1))
    assert released_ears(tmp_path, torch.bfloat16)([sound])[0].dtype == torch.bfloat16
    assert not [name for name, p in ears.named_parameters() if p.is_meta]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("encoder.layers.1.fc1.weight"), r"1 missing weights \(such as .*layers.1.fc1"),
        (lambda weights: weights.update(other=torch.ones(2)), r"1 unexpected weights \(such as other\)"),
        (
            lambda weights: weights.update({"encoder.conv1.bias": torch.ones(3)}),
            r"1 mismatched weights \(such as encoder.conv1.bias\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(whisper, tmp_path, change, message):
    whisper.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=message):
        released_ears(tmp_path, torch.float32)


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="no WhisperModel could be loaded"):
        released_ears(tmp_path / "nowhere", torch.float32)
