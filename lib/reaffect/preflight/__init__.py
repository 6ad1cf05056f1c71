"""What the paper profile needs, looked for before anything runs: `python -m reaffect.preflight [NN ...]`."""
