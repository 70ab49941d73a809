"""Groups of sources: as many as there are, named by family, and a place for a new source or none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mira_stream.config import load_project
from mira_stream.discovery.placing import with_groups
from mira_stream.discovery.report import grouping_page, grouping_picture, grouping_report
from mira_stream.errors import ConfigError
from mira_stream.rubric.anchors import Anchor, Example, Rubric, RubricHeader
from mira_stream.rubric.diff import compare
from mira_stream.rubric.grouping import Grouping, SourceMean, group_sources, place_source, source_vector
from mira_stream.sections import Family


def mean(name: str, direction: list[float], family: Family = "text", documents: int = 50) -> SourceMean:
    return SourceMean(name, family, source_vector(np.array([direction], np.float32)), documents)


CODE = [mean("code1", [1, 0.02, 0]), mean("code2", [1, -0.02, 0]), mean("code3", [1, 0, 0.02])]
PROSE = [mean("prose1", [0, 1, 0.02]), mean("prose2", [0.02, 1, 0])]


def grouped(means: list[SourceMean], **more: object) -> Grouping:
    return group_sources(means, **{"k": {}, "scope": "group", "seed": 0, **more})  # type: ignore[arg-type]


def test_silhouette_finds_two_groups_the_larger_first() -> None:
    grouping = grouped([*PROSE, *CODE])
    assert [(one.name, one.sources) for one in grouping.groups] == [
        ("text-1", ("code1", "code2", "code3")),
        ("text-2", ("prose1", "prose2")),
    ]
    assert grouping.groups[0].within is not None
    assert grouping.groups[0].within > 0.99
    assert grouping.between[("text-1", "text-2")] < 0.1
    assert max(grouping.silhouettes["text"], key=lambda k: grouping.silhouettes["text"][k]) == 2


def test_without_structure_a_family_is_one_group() -> None:
    chance = np.random.default_rng(1)
    means = [mean(f"s{number}", list(chance.normal(size=64))) for number in range(6)]
    grouping = grouped(means)
    assert [one.name for one in grouping.groups] == ["text"]
    assert max(grouping.silhouettes["text"].values()) < 0.25


def test_two_sources_of_a_family_are_one_group() -> None:
    assert [one.name for one in grouped([CODE[0], PROSE[0]]).groups] == ["text"]


def test_families_are_never_mixed() -> None:
    twin = CODE[0]._replace(name="twin", family="qa")
    assert {one.name: one.sources for one in grouped([CODE[0], twin]).groups} == {"text": ("code1",), "qa": ("twin",)}


def test_k_is_obeyed_and_one_too_large_refused() -> None:
    assert len(grouped(CODE, k={"text": 3}).groups) == 3
    with pytest.raises(ConfigError, match="k_too_large"):
        grouped(CODE, k={"text": 4})
    with pytest.raises(ConfigError, match="k_too_large: 2 groups of family text cannot be made of 1 different"):
        grouped([CODE[0], CODE[0]._replace(name="copy")], k={"text": 2})


def test_scopes() -> None:
    everything = [*CODE, *PROSE]
    assert [one.name for one in grouped(everything, scope="global").groups] == ["text"]
    odd = [mean("My_Source.v1", [1, 0]), mean("my-source-v1", [0, 1])]
    assert [one.name for one in grouped(odd, scope="source").groups] == ["my-source-v1", "my-source-v1-2"]


def test_a_group_found_again_keeps_its_name() -> None:
    known = {"my-code": frozenset({"code1", "code2", "code3"})}
    assert [one.name for one in grouped([*PROSE, *CODE], known=known).groups] == ["my-code", "text-2"]


def test_a_new_group_never_takes_the_name_of_one_found_again() -> None:
    known = {"text-1": frozenset({"prose1", "prose2"})}
    grouping = grouped([*PROSE, *CODE], known=known)
    assert [one.name for one in grouping.groups] == ["text-1-2", "text-1"]
    assert grouping.group_of["prose1"] == "text-1"
    assert grouping.group_of["code1"] == "text-1-2"


@settings(max_examples=25, deadline=None)
@given(st.permutations([*CODE, *PROSE]))
def test_order_does_not_matter(means: list[SourceMean]) -> None:
    assert grouped(means).group_of == grouped([*CODE, *PROSE]).group_of


def test_a_new_source_goes_to_the_nearest_group_of_its_family() -> None:
    groups = {"code": CODE, "prose": PROSE, "talk": [mean("t", [0, 1, 0], "agent")]}
    placement = place_source(mean("new", [0.1, 1, 0]), groups)
    assert placement.group == "prose"
    assert placement.cosine is not None
    assert placement.cosine > 0.99
    assert set(placement.cosines) == {"code", "prose"}
    assert place_source(mean("odd", [0, 0, 1], "qa"), groups).group is None


def test_a_source_without_documents_is_nowhere() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        source_vector(np.zeros((0, 3), np.float32))


def test_toml_keeps_comments_and_what_was_set() -> None:
    text = (
        "# mine\n[groups.text-1]\nfamily = 'text'\nmax_num_seqs = 8 # small\n\n"
        "[sources.code1] # c\nfamily = 'text'\npath = 'x'\n\n[sources.talk]\nfamily = 'agent'\n"
    )
    placed = {"code1": "text-1", "talk": "agent"}
    after = with_groups(text, placed, {"text-1": "text", "agent": "agent"}, {"kv_cache_gib": 2})
    assert "# mine" in after
    assert "max_num_seqs = 8 # small" in after
    assert "[sources.code1] # c" in after
    assert '[groups.agent]\nfamily = "agent"\nkv_cache_gib = 2\n' in after
    assert with_groups(after, placed, {"text-1": "text", "agent": "agent"}, {"kv_cache_gib": 2}) == after


def test_report_says_what_is_uncertain() -> None:
    means = [*CODE, *PROSE, mean("tiny", [0, 1, 0], documents=3)]
    grouping = grouped(means)
    report = grouping_report(grouping, means, {"embedding": "e", "sample_documents": 50, "seed": 0, "scope": "group"})
    assert report["few_documents"] == ["tiny"]
    picture = grouping_picture(grouping, means)
    assert picture == grouping_picture(grouping, means)
    assert picture.startswith(b"\x89PNG")
    page = grouping_page(report, picture)
    assert "tiny (3)" in page
    assert "mean silhouette by number of groups" in page


def rubric(names: list[str]) -> Rubric:
    anchors = [
        Anchor(slot=f"A{number}", name=name, description=name, examples=[Example(score=1, reason="r")])
        for number, name in enumerate(names, 1)
    ]
    return Rubric(RubricHeader(group="g", teacher="t", created_by="c"), tuple(anchors), "v")


def test_diff_matches_by_name_then_by_meaning() -> None:
    before, after = rubric(["Same", "Old", "Gone"]), rubric(["New", "Same", "Fresh"])
    one = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], np.float32)
    other = np.array([[0, 0.9, 0, 0.436], [1, 0, 0, 0], [0, 0, 0, 1]], np.float32)
    matches = compare(before, after, one, other)
    said = [(m.how, m.before and m.before.name, m.after and m.after.name) for m in matches]
    assert said == [
        ("same", "Same", "Same"),
        ("renamed", "Old", "New"),
        ("removed", "Gone", None),
        ("added", None, "Fresh"),
    ]


def test_a_source_in_no_group_names_its_family(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("project")
    (root / "mira.toml").write_text("[sources.a]\nfamily = 'qa'\n")
    assert load_project(root).settings.family_of("a") == "qa"
    for bad, cause in (
        ("[sources.a]\n", "needs a group"),
        ("[groups.g]\nfamily = 'text'\n[sources.a]\ngroup = 'g'\nfamily = 'qa'\n", "of family qa"),
        ("[grouping.defaults]\nmodle = 'x'\n", "grouping.defaults"),
    ):
        (root / "mira.toml").write_text(bad)
        with pytest.raises(ConfigError, match=cause):
            load_project(root)
