"""ReAffect: replications of four papers on recognising emotions from video with multimodal LLMs."""
