"""One module a corpus: official files in, one tidy table out."""
