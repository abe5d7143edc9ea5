"""The study of the expert cache: small, and what its rates must obey."""

import json

import pytest

from moe_course.studies import expert_cache_study as study
from moe_lib.paths import DATA


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "cache.json"
    study.main(["--rows", "1", "--num-slots", "3", "--out", str(out)])
    return json.loads(out.read_text(encoding="utf-8"))


def test_every_domain_has_its_rates_and_they_are_in_order(small):
    assert small["about"]["command"].endswith("expert_cache_study --rows 1 --num-slots 3")
    assert len(small["domains"]) > 2
    for found in small["domains"].values():
        rates = {way: rate["all"] for way, rate in found["hit_rates"].items()}
        assert 1 > rates["belady"] >= max(rates["lru"], rates["lfu"])
        assert rates["static in-sample"] >= rates["static"]
        assert set(found["recall"]) == {"popular", "last_token", "transition", "next_router"}
        assert all(0 < share <= 1 for share in found["recall"].values())


def test_the_stored_study_has_the_shape_of_a_new_one(small):
    stored = json.loads((DATA / "studies/expert_cache.json").read_text(encoding="utf-8"))
    assert set(stored["domains"]) == set(small["domains"])
    for name, found in stored["domains"].items():
        assert set(found["hit_rates"]) == set(small["domains"][name]["hit_rates"])
