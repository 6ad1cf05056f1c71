"""McAdams over all frames at once, against frame by frame as the VoicePrivacy baseline does it.

Run: python -m bench.deid
"""

from __future__ import annotations

import numpy as np
from tests.test_deid import frame_by_frame
from threadpoolctl import threadpool_limits

from bench.timing import median_seconds_by_turns, report
from reaffect.deid import mcadams
from reaffect.synthetic import speech

RATE, CLIPS = 16_000, 15


def main() -> None:
    sound = np.concatenate([speech.reaction(0.5, 0.5, 4.0, np.random.default_rng(k)) for k in range(CLIPS)]).astype(
        float
    )
    with threadpool_limits(1):
        if np.abs(mcadams(sound, RATE) - frame_by_frame(sound, RATE, 0.8)).max() > 1e-6:
            raise SystemExit("the two ways differ by more than 1e-6")
        contenders = {
            "all frames at once": lambda: mcadams(sound, RATE),
            "frame by frame": lambda: frame_by_frame(sound, RATE, 0.8),
        }
        seconds = median_seconds_by_turns(contenders)
    report(f"McAdams, {len(sound) / RATE:.0f} s of speech, one core", seconds, reference="all frames at once")
    for name, time_s in seconds.items():
        print(f"{name}: {len(sound) / RATE / time_s:.0f} times real time")


if __name__ == "__main__":
    main()
