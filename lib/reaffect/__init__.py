"""ReAffect: replications of four papers on recognising emotions from video with multimodal LLMs."""

import gc

# torch and transformers make a million objects that stay. Each full collection walks through all of them, and with
# Python's threshold of 10 that takes a third of their import. Young objects are looked through as often as ever.
gc.set_threshold(*gc.get_threshold()[:2], 1000)
