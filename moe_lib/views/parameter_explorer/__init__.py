"""What a Mixture-of-Experts model stores, computes with and reads."""

from moe_lib.views.parameter_explorer.widget import ParameterExplorer

__all__ = ["ParameterExplorer"]
