"""Each step of the notebooks at the papers' sizes with random weights: `python -m reaffect.rehearsal [NN ...]`."""
