"""One statement of the article, and what a test of it shows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """section: of the article. quote: its words; formulas in LaTeX. english: the same in English.
    verdict: what the test shows, in whole sentences."""

    section: str
    quote: str
    english: str
    verdict: str
