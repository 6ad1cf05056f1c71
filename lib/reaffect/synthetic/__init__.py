"""The embedded corpora and small checkpoints: made from real faces and real speech, truth planted."""
