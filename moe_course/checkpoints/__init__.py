"""How the shipped checkpoints are made, and the cards that say what they are."""
