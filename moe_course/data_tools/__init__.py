"""What keeps data/ in order: its card, and measures of the labelled sets and the corpora."""
