"""One module per chapter, `chapter_NN.py`, each with `CHECKS`: {"NN.k": function that checks an
answer}."""
