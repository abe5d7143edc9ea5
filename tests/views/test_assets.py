"""What the browser gets of each widget: its own files and the shared ones, once each, and no name
declared twice."""

import re
from collections import Counter

import pytest

from moe_lib.views.balance_dashboard.widget import BalanceDashboard
from moe_lib.views.cache_calculator.widget import CacheCalculator
from moe_lib.views.compression import CompressionComparator
from moe_lib.views.expert_cache import ExpertCachePlayer
from moe_lib.views.explorer.panel import SCRIPTS, RoutingPanel
from moe_lib.views.flying_tokens import FlyingTokens
from moe_lib.views.kit.assets import VIEWS, script, style
from moe_lib.views.mask_playground.widget import MaskPlayground
from moe_lib.views.parameter_explorer.widget import ParameterExplorer
from moe_lib.views.phone_book.widget import PhoneBookRace
from moe_lib.views.router_playground.widget import RouterPlayground
from moe_lib.views.tryout.widget import TryOut
from moe_lib.views.tuning_comparator.widget import TuningComparator

WIDGETS = [
    BalanceDashboard,
    CacheCalculator,
    CompressionComparator,
    ExpertCachePlayer,
    FlyingTokens,
    MaskPlayground,
    ParameterExplorer,
    PhoneBookRace,
    RouterPlayground,
    RoutingPanel,
    TryOut,
    TuningComparator,
]
MODULES = {
    **{widget.__name__: str(widget._esm) for widget in WIDGETS},
    "exported page": script(*SCRIPTS, "page"),
}
FILES = {
    path.name: path.read_text(encoding="utf-8")
    for path in VIEWS.glob("*/*")
    if path.suffix in (".js", ".css")
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_declares_no_name_twice_and_exports_once(name):
    declared = re.findall(
        r"^(?:async )?(?:const|let|var|function|class) +(\w+)", MODULES[name], re.MULTILINE
    )
    assert {"h", "svg", "freshId", "render"} <= set(declared)
    assert [one for one, times in Counter(declared).items() if times > 1] == []
    assert MODULES[name].count("export default") == 1


def test_every_file_reaches_a_widget_and_the_theme_stands_last():
    styles = [str(widget._css) for widget in WIDGETS]
    assert all(one.endswith(FILES["theme.css"]) for one in styles)
    sent = [*MODULES.values(), *styles, script("atlas_parts", "atlas"), style("atlas")]
    assert [name for name, text in FILES.items() if not any(text in one for one in sent)] == []


def test_rules_of_the_theme_are_weaker_than_a_class():
    """A page with two widgets loads the theme twice, once behind the rules of the first."""
    rules = re.sub(r"/\*.*?\*/", "", FILES["theme.css"], flags=re.DOTALL)
    strong = [
        one.strip()
        for one in re.findall(r"([^{}]+)\{", rules)
        if not one.strip().startswith(":where(.moe-")
    ]
    assert strong == [
        ".moe-widget [hidden]",
        ".moe-unseen",
        ":is(.moe-widget, .moe-page) :focus-visible",
    ]
    assert "--moe-ink:" in style("explorer") and style("explorer").count("--moe-ink:") == 1


@pytest.mark.parametrize(
    "name", [name for name in FILES if name.endswith(".css") and name != "theme.css"]
)
def test_no_other_file_says_what_the_theme_says(name):
    assert "--jp-" not in FILES[name] and ":focus-visible { outline: 3px" not in FILES[name]
