"""Changing what a router chooses for a while: experts off, another k, the strongest or shared
experts taken away."""
