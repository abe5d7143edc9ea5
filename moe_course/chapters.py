"""The chapters of the course, in order, with what each one builds on."""

from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Chapter:
    """One notebook of the course.

    number: two digits, also the prefix of its exercises ("03" holds "03.1", "03.2", …).
    slug: file name without number and ending.
    needs: numbers of the chapters it builds on directly.
    ready: True once its notebook is in the repository and tested.
    """

    number: str
    slug: str
    title: str
    sentence: str
    needs: tuple[str, ...] = ()
    ready: bool = False

    @property
    def filename(self) -> str:
        """Name of the notebook in the folder `notebooks`."""
        return f"{self.number}_{self.slug}.ipynb"


CHAPTERS = (
    Chapter(
        "00",
        "start_here",
        "Start here",
        "Play with a trained model's routing; see how the course works.",
        (),
        True,
    ),
    Chapter(
        "01",
        "text_and_tokens",
        "Text and tokens",
        "Look at the corpora and build byte-pair encoding from scratch.",
        ("00",),
        True,
    ),
    Chapter(
        "02",
        "masked_lm",
        "Masked language modelling",
        "Hide words, compute the loss and its gradient, train a first encoder.",
        ("01",),
        True,
    ),
    Chapter(
        "03",
        "transformer",
        "The transformer",
        "Attention, rotary positions, RMSNorm and SwiGLU; masked and causal.",
        ("02",),
        True,
    ),
    Chapter(
        "04",
        "mixture_of_experts",
        "Mixture of experts",
        "A router finds hidden rules; soft to sparse; dispatch; parameters against FLOPs.",
        ("03",),
        True,
    ),
    Chapter(
        "05",
        "routing",
        "Routing",
        "Every router in the lineage; capacity and dropping.",
        ("04",),
        True,
    ),
    Chapter(
        "06",
        "load_balance",
        "Load balance",
        "Watch the load collapse, and try its cures live.",
        ("05",),
        True,
    ),
    Chapter(
        "07",
        "deepseek_moe",
        "DeepSeekMoE",
        "Fine-grained and shared experts, compared at equal compute.",
        ("06",),
        True,
    ),
    Chapter(
        "08",
        "latent_attention",
        "Latent attention",
        "MLA, decoupled rotary positions, absorption and the KV cache.",
        ("03",),
        True,
    ),
    Chapter(
        "09",
        "deepseek_v2",
        "DeepSeek-V2",
        "The whole model on one page: parity with the official architecture; watching it write.",
        ("07", "08"),
        True,
    ),
    Chapter(
        "10",
        "pretraining",
        "Pretraining",
        "Dense against experts on real text; upcycling; masked against causal.",
        ("09",),
        True,
    ),
    Chapter(
        "11",
        "reading_the_router",
        "Reading the router",
        "What experts learned, with controls; other people's models.",
        ("09",),
        True,
    ),
    Chapter(
        "12",
        "fine_tuning",
        "Fine-tuning",
        "Task heads for intent, sentiment and question answering; dense against MoE.",
        ("09",),
        True,
    ),
    Chapter(
        "13",
        "generation_tasks",
        "Generation tasks",
        "Translation, summarisation and recommendation by prompting.",
        ("12",),
        True,
    ),
    Chapter(
        "14",
        "parameter_efficient",
        "Parameter-efficient tuning",
        "Adapters, prefixes, LoRA, AdaLoRA and ESFT.",
        ("12",),
        True,
    ),
    Chapter(
        "15",
        "overfitting",
        "Overfitting",
        "Augmentation, regularisation, adversarial training, ensembles, few labels.",
        ("12",),
        True,
    ),
    Chapter(
        "16",
        "inference",
        "Inference",
        "Dynamic routing at work: caching, batching, pruning, quantising, offloading.",
        ("09",),
        True,
    ),
    Chapter(
        "17",
        "scaling_out",
        "Scaling out",
        "One batch in parts, bfloat16, and experts on several processes that exchange tokens.",
        ("09",),
        True,
    ),
    Chapter(
        "18",
        "serving",
        "Serving",
        "A service with limits, metrics and a privacy filter; three applications.",
        ("13", "16"),
    ),
    Chapter(
        "19",
        "claims_tested",
        "Claims, tested",
        "What is said about “DeepSeek's second-generation MoE”, each put to the test.",
        ("11", "14", "17"),
    ),
)


def find_chapter(name: str) -> Chapter:
    """The chapter called `name`: a number ("03" or "3"), a slug, or a notebook's file name.

    Raises ValueError if there is no such chapter.
    """
    text = str(name)
    for chapter in CHAPTERS:
        known = (
            chapter.number,
            chapter.slug,
            chapter.filename,
            chapter.filename.removesuffix(".ipynb"),
        )
        if text in known or (text.isdigit() and text.zfill(2) == chapter.number):
            return chapter
    raise ValueError(
        f"name: got {name!r}; wants the number of a chapter, '00' to '{CHAPTERS[-1].number}'"
    )


class CourseMap:
    """Table of all chapters: a real HTML table in a notebook, plain lines elsewhere."""

    def __init__(self, chapters: tuple[Chapter, ...] = CHAPTERS):
        self.chapters = chapters

    def __repr__(self) -> str:
        lines = []
        for chapter in self.chapters:
            needs = f" (after {', '.join(chapter.needs)})" if chapter.needs else ""
            state = "" if chapter.ready else " [in preparation]"
            lines.append(
                f"{chapter.number}  {chapter.title}{needs}{state}\n      {chapter.sentence}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(_map_row(chapter) for chapter in self.chapters)
        head = "".join(
            f'<th scope="col" style="text-align:left">{name}</th>'
            for name in ("Chapter", "What you do there", "After", "State")
        )
        caption = "The course: each chapter, and the chapters it builds on"
        table = f"<caption>{caption}</caption><thead><tr>{head}</tr></thead>"
        return f"<table>{table}<tbody>{rows}</tbody></table>"


def _map_row(chapter: Chapter) -> str:
    title = f"{chapter.number} {escape(chapter.title)}"
    if chapter.ready:
        title = f'<a href="{chapter.filename}">{title}</a>'
    cell = '<td style="text-align:left">{}</td>'
    return (
        f'<tr><th scope="row" style="text-align:left">{title}</th>'
        + cell.format(escape(chapter.sentence))
        + cell.format(", ".join(chapter.needs) or "nothing")
        + cell.format("ready" if chapter.ready else "in preparation")
        + "</tr>"
    )


def course_map() -> CourseMap:
    """The map of the course: put `course_map()` on the last line of a cell."""
    return CourseMap()
