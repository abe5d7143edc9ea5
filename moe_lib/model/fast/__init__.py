"""The same results, sooner: grouped products and the decoding plan. Nobody needs it to understand a
model."""
