"""The networks, each readable alone."""
