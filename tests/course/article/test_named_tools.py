"""The tools that the article names, as they are installed here."""

import re
from importlib.metadata import metadata, requires

import transformers
from packaging.specifiers import SpecifierSet

from moe_lib import LanguageModel, ModelConfig
from moe_lib.tuning.methods import Houlsby


def test_nothing_is_called_gpt3():
    names = [*dir(transformers), *transformers.models.auto.configuration_auto.CONFIG_MAPPING]
    assert len(names) > 1000 and any("gpt2" in name.lower() for name in names)
    assert not [name for name in names if re.match("gpt-?3", name, re.IGNORECASE)]


def test_the_environment_of_the_article_is_too_old():
    wants = SpecifierSet(metadata("transformers")["Requires-Python"])
    assert "3.8" not in wants and "3.11" in wants
    torches = {one for one in requires("transformers") if re.match("torch[<>=!]", one)}
    needed = {SpecifierSet(one.removeprefix("torch").split(";")[0].strip()) for one in torches}
    # The last torch that was built with CUDA 11.1 is 1.10.
    assert needed and not any("1.10.2" in one for one in needed)


def test_transformers_is_hugging_faces():
    author = metadata("transformers")["Author"] or ""
    assert "Hugging Face" in author and "DeepSeek" not in author


def test_there_is_no_tensorflow():
    assert not [name for name in dir(transformers) if re.match("TF[A-Z]", name)]
    assert hasattr(transformers, "BertModel") and hasattr(transformers, "DeepseekV2ForCausalLM")


def test_adapters_add_parameters():
    model = LanguageModel(ModelConfig.preset("tiny"))
    before = sum(one.numel() for one in model.parameters())
    attached = Houlsby(bottleneck=4).attach(model)
    m, d, layers = 4, model.config.hidden_size, model.config.num_hidden_layers
    added = 2 * layers * (2 * m * d + d + m)  # two in each layer, each down, up and two biases
    assert sum(one.numel() for one in model.parameters()) == before + added
    assert attached.n_trainable == added
