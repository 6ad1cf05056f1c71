"""McAdams against the baseline's own way, frame by frame, and against what it must leave alone."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from reaffect.deid import mcadams
from reaffect.errors import InputError
from reaffect.synthetic import speech

RATE = 16_000


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return speech.reaction(0.5, 0.8, 2.0, np.random.default_rng(3), voice="m1").astype(float)


def frame_by_frame(waveform: np.ndarray, rate: int, coefficient: float) -> np.ndarray:
    """As the VoicePrivacy baseline writes it, one frame after another; ends and scale as documented for ours."""
    eps = np.finfo(np.float32).eps
    length, shift = round(0.02 * rate), round(0.01 * rate)
    count = max(1, -(-(len(waveform) - length) // shift) + 1)
    signal = np.zeros((count - 1) * shift + length)
    signal[: len(waveform)] = waveform + eps
    hann = np.hanning(length)
    window = np.sqrt(hann / (hann.sum() / shift))
    made = np.zeros_like(signal)
    for start in range(0, count * shift, shift):
        frame = signal[start : start + length] * window
        filter_ = librosa.lpc(frame + eps, order=20)
        _, poles, _ = scipy.signal.tf2zpk([1], filter_)
        moved = [
            pole
            if np.isreal(pole)
            else abs(pole) * np.exp(1j * np.sign(pole.imag) * abs(np.angle(pole)) ** coefficient)
            for pole in poles
        ]
        residual = scipy.signal.lfilter(filter_, [1], frame)
        made[start : start + length] += scipy.signal.lfilter([1], np.real(np.poly(moved)), residual) * window
    made = made[: len(waveform)]
    return made * np.abs(waveform).max() / np.abs(made).max()


@pytest.mark.parametrize("coefficient", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050])
def test_equals_the_baseline_frame_by_frame(voice, rate, coefficient):
    sound = librosa.resample(voice, orig_sr=RATE, target_sr=rate)
    expected = frame_by_frame(sound, rate, coefficient)
    np.testing.assert_allclose(mcadams(sound, rate, coefficient), expected, atol=1e-6)


def test_chunks_do_not_show(voice, monkeypatch):
    whole = mcadams(voice, RATE)
    monkeypatch.setattr("reaffect.deid.voices.CHUNK", 7)
    np.testing.assert_allclose(mcadams(voice, RATE), whole, atol=1e-12)


def test_a_coefficient_of_one_changes_next_to_nothing(voice):
    made = mcadams(voice, RATE, 1.0)
    np.testing.assert_allclose(made[160:-160], voice[160:-160], atol=0.01 * np.abs(voice).max())


def test_formants_move_as_the_poles_do():
    """A resonance at angle w sounds at w ** 0.8: a pulse train through one, and where its spectrum peaks after."""
    angle = 2 * np.pi * 600 / RATE
    pulses = np.zeros(RATE)
    pulses[::160] = 1
    sound = scipy.signal.lfilter([1], np.poly([0.97 * np.exp(1j * angle), 0.97 * np.exp(-1j * angle)]), pulses)

    def peak(wave: np.ndarray) -> float:
        frequencies, power = scipy.signal.welch(wave, RATE, nperseg=4096)
        smooth = scipy.signal.fftconvolve(power, np.hanning(31), "same")
        return frequencies[smooth.argmax()]

    assert peak(sound) == pytest.approx(600, abs=60)
    assert peak(mcadams(sound, RATE)) == pytest.approx(angle**0.8 * RATE / (2 * np.pi), abs=80)


@given(
    st.integers(1, 900),
    st.sampled_from(["noise", "silence", "constant", "clipping", "click"]),
    st.floats(0.3, 1.5),
    st.sampled_from([2_200, 8_000, 44_100]),
)
def test_any_sound_stays_finite_and_as_long_and_as_loud(length, kind, coefficient, rate):
    rng = np.random.default_rng(length)
    sound = {
        "noise": rng.normal(size=length),
        "silence": np.zeros(length),
        "constant": np.full(length, 0.7),
        "clipping": np.sign(rng.normal(size=length)),
        "click": np.eye(1, length, length // 2)[0],
    }[kind]
    made = mcadams(sound, rate, coefficient)
    assert made.shape == sound.shape and np.isfinite(made).all()
    assert np.abs(made).max() <= np.abs(sound).max() * (1 + 1e-9)


def test_silence_stays_silence_and_nothing_stays_nothing():
    assert not mcadams(np.zeros(5_000), RATE).any()
    assert mcadams(np.zeros(0), RATE).shape == (0,)


@pytest.mark.parametrize(
    "waveform, rate, coefficient, complaint",
    [
        (np.zeros((2, 100)), RATE, 0.8, "one channel"),
        (np.array([0.0, np.nan]), RATE, 0.8, "Sample 1 of the waveform is no number"),
        (np.zeros(100), 1_000, 0.8, "1000 Hz gives frames too short"),
        (np.zeros(100), RATE, 0.0, "coefficient is 0.0"),
    ],
)
def test_bad_input(waveform, rate, coefficient, complaint):
    with pytest.raises(InputError, match=complaint):
        mcadams(waveform, rate, coefficient)
