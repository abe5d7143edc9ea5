"""Whole texts with a domain: the course's corpora, the reader's Python, the reader's files, public
sets."""

from moe_lib.text.corpora.load import corpus_names, load_corpus

__all__ = ["corpus_names", "load_corpus"]
