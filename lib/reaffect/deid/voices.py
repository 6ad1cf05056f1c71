"""De-identification: voices by the McAdams coefficient."""

from __future__ import annotations

import librosa  # loads its parts when they are called: lpc brings numba, 150 MB
import numpy as np
from jaxtyping import Float

from reaffect.errors import InputError

WINDOW_S = 0.020
SHIFT_S = 0.010
ORDER = 20
"""Of the linear prediction. Window, shift and order as in the VoicePrivacy Challenge's baseline B2."""

CHUNK = 4_096
"""Frames that are worked on at once, so that memory does not grow with the length of a file."""

EPS = float(np.finfo(np.float32).eps)


def mcadams(
    waveform: Float[np.ndarray, " samples"], sample_rate: int, coefficient: float = 0.8
) -> Float[np.ndarray, " samples"]:
    r"""Moves the formants of a voice by raising the angles of its prediction poles to a power.

    Every 20 ms frame is split by linear prediction into an all-pole filter and its residual. A complex pole of angle
    $\phi$ in (0, $\pi$) moves to $\phi^\alpha$ with its radius unchanged, real poles stay; the residual then drives the
    new filter, and frames are overlapped and added (EALD-MLLM 2024, Section 2.2; VoicePrivacy 2020, baseline B2).
    Vectorised over frames.

    Args:
        waveform: mono, any scale.
        sample_rate: in Hz; at least 2200, so that a frame is longer than twice the filter's order.
        coefficient: $\alpha$ in (0, 2]; 1 changes nothing to 1 %, but for the first and the last 10 ms, where no two
            windows overlap.

    Returns:
        As long as `waveform`, float64, with the largest absolute value of `waveform`: the baseline scales to 1, which
        would make silence loud and tell how loud a passage was among others. Silence stays silence. What is shorter
        than a frame and what follows the last whole frame is padded with zeros for the analysis.

    Raises:
        InputError: not one channel, a value that is no number, a sample rate or coefficient out of range.
    """
    waveform = _checked(waveform, sample_rate, coefficient)
    length, shift = round(WINDOW_S * sample_rate), round(SHIFT_S * sample_rate)
    peak = np.abs(waveform).max(initial=0)
    if peak == 0:
        return waveform
    count = max(1, -(-(len(waveform) - length) // shift) + 1)
    signal = np.zeros((count - 1) * shift + length)
    signal[: len(waveform)] = waveform + EPS
    hann = np.hanning(length)
    window = np.sqrt(hann * shift / hann.sum())
    made = np.zeros_like(signal)
    for first in range(0, count, CHUNK):
        starts = shift * np.arange(first, min(first + CHUNK, count))
        frames = signal[starts[:, None] + np.arange(length)] * window
        _overlap_add(made, starts, _moved(frames, coefficient) * window)
    made = made[: len(waveform)]
    return made * (peak / max(np.abs(made).max(), EPS * peak))


def _checked(waveform: np.ndarray, sample_rate: int, coefficient: float) -> np.ndarray:
    waveform = np.asarray(waveform, np.float64)
    if waveform.ndim != 1:
        raise InputError(f"The waveform is {waveform.shape}; McAdams takes one channel: average them, or take each.")
    if not np.isfinite(waveform).all():
        first = np.flatnonzero(~np.isfinite(waveform))[0]
        raise InputError(f"Sample {first} of the waveform is no number. Mend the file.")
    if sample_rate < 2 * ORDER / WINDOW_S * 1.1:
        raise InputError(f"{sample_rate} Hz gives frames too short for {ORDER} poles; resample to 8000 Hz or more.")
    if not 0 < coefficient <= 2:
        raise InputError(f"The McAdams coefficient is {coefficient}; it must be above 0 and at most 2 (0.8 is usual).")
    return waveform


def _moved(frames: np.ndarray, coefficient: float) -> np.ndarray:
    """Frames (n, length) driven through their filters with the poles moved."""
    filters = librosa.lpc(frames + EPS, order=ORDER)
    moved = _polynomials(_turned(_roots(filters), coefficient))
    return _drive(moved, _residual(filters, frames))


def _roots(filters: np.ndarray) -> np.ndarray:
    """Roots (n, 20) of monic polynomials (n, 21): eigenvalues of their companion matrices."""
    count, order = len(filters), filters.shape[1] - 1
    companion = np.zeros((count, order, order))
    companion[:, 0] = -filters[:, 1:]
    companion[:, np.arange(1, order), np.arange(order - 1)] = 1
    return np.linalg.eigvals(companion).astype(complex)


def _turned(poles: np.ndarray, coefficient: float) -> np.ndarray:
    """Complex poles with their angle to a power, conjugates staying conjugates; real ones as they are."""
    angle = np.abs(np.angle(poles))
    turned = np.minimum(angle**coefficient, np.pi)
    return np.where(poles.imag == 0, poles, np.abs(poles) * np.exp(1j * np.sign(poles.imag) * turned))


def _polynomials(roots: np.ndarray) -> np.ndarray:
    """Monic polynomials (n, 21) with these roots (n, 20), real as the roots come in conjugate pairs."""
    made = np.zeros((len(roots), roots.shape[1] + 1), complex)
    made[:, 0] = 1
    for place in range(roots.shape[1]):
        made[:, 1 : place + 2] -= roots[:, place, None] * made[:, : place + 1]
    return made.real


def _residual(filters: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """What a filter cannot predict of its frame: the frame through the polynomial as a moving average."""
    left = np.pad(frames, ((0, 0), (ORDER, 0)))
    length = frames.shape[1]
    return sum(filters[:, lag, None] * left[:, ORDER - lag : ORDER - lag + length] for lag in range(ORDER + 1))


def _drive(filters: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """All-pole filters driven by residuals (n, length), sample by sample, all frames at once."""
    made = np.zeros((residual.shape[1] + ORDER, len(residual)))  # time first: each step reads neighbours
    backwards = np.ascontiguousarray(filters[:, :0:-1].T)
    for step in range(residual.shape[1]):
        made[step + ORDER] = residual[:, step] - (backwards * made[step : step + ORDER]).sum(0)
    return made[ORDER:].T


def _overlap_add(made: np.ndarray, starts: np.ndarray, frames: np.ndarray) -> None:
    np.add.at(made, starts[:, None] + np.arange(frames.shape[1]), frames)
