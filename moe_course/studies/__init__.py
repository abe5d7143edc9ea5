"""Experiments too long for a notebook: each is one command, and its figures are kept in
data/studies."""
