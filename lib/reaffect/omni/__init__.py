"""Omni-Emotion in notebook 10: `inputs` and lessons, their `tuning`, the `reasoning` that is scored, and `figures`."""
