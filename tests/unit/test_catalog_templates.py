"""Templates in their authors' words: placeholders are told apart, everything else stays, and doubt is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.catalog.templates import Style, import_templates
from mira_stream.errors import UsageError

REPLY = '{"score": {"A1": 7}} %s $1 \\n {0}'


def test_a_format_template_has_its_doubled_braces_halved() -> None:
    found = import_templates("Scale: {anchor_examples}", 'As {{"a": 1}}:\n{record}\n{dims}', {})
    assert found.system == "Scale: ${calibration}"
    assert found.user == 'As {"a": 1}:\n${document}\n${dimensions}'
    assert found.mapping == {"anchor_examples": "calibration", "record": "document", "dims": "dimensions"}
    assert (found.style, found.halved) == ("python", True)


def test_braces_of_a_template_that_is_no_format_string_stay() -> None:
    found = import_templates("", f"{REPLY} {{{{x}} {{document}}", {})
    assert found.user == f"{REPLY} {{{{x}} ${{document}}"
    assert not found.halved


def test_jinja_and_dollar_keep_single_braces() -> None:
    assert (
        import_templates("", f"{REPLY} {{{{ document }}}} {{{{-dims-}}}}", {}).user
        == f"{REPLY} ${{document}} ${{dimensions}}"
    )
    found = import_templates("${calibration}", f"{REPLY} ${{document}}", {})
    assert (found.system, found.user, found.style) == ("${calibration}", f"{REPLY} ${{document}}", "dollar")


def test_a_placeholder_may_be_named_or_be_text() -> None:
    found = import_templates("", "{traj_json} {date}", {"traj_json": "document", "date": "literal"})
    assert found.user == "${document} {date}"


def test_no_second_document_is_proposed() -> None:
    with pytest.raises(UsageError) as caught:
        import_templates("", "{document} {foo}", {})
    assert caught.value.fix == "say what it means: --map foo=literal"
    with pytest.raises(UsageError) as caught:
        import_templates("", "{dimensions} {foo}", {})
    assert caught.value.fix == "say what it means: --map foo=document"


@pytest.mark.parametrize(
    ("system", "user", "fix"),
    [
        ("", "{document} {document}", "leave one document in the template"),
        ("", "{document} {text}", "say which is not: --map text=literal"),
        ("{document}", "{dimensions}", "see which file is which"),
    ],
)
def test_the_way_out_leaves_a_document(system: str, user: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        import_templates(system, user, {})
    assert caught.value.fix == fix


@pytest.mark.parametrize(
    ("system", "user", "given", "code"),
    [
        ("", "{document} {today}", {}, r"prompt_placeholder.*today.*Mapping: document -> document, today -> \?"),
        ("", "{document} {text}", {}, "prompt_placeholder.*document and text could all be document"),
        ("", "{document} {document}", {}, "prompt_placeholder.*2 times"),
        ("", "{dimensions}", {}, "prompt_document"),
        ("{document}", "{dimensions}", {}, "prompt_document.*user part"),
        ("", "no placeholder", {}, "prompt_style.*no placeholder"),
        ("", "{document} {{ rubric }}", {}, "prompt_style.*python and jinja"),
        ("", "{% for d in dims %}{{ document }}", {}, "prompt_style.*statements"),
        ("", "{document}", {"document": "essay"}, "prompt_map"),
        ("", "{document}", {"other": "document"}, "prompt_map.*no such placeholder"),
        ("", "{document} ${{dimensions}}", {}, "prompt_placeholder|prompt_style"),
    ],
)
def test_doubt_is_refused_and_the_mapping_shown(system: str, user: str, given: dict[str, str], code: str) -> None:
    with pytest.raises(UsageError, match=code):
        import_templates(system, user, given)


plain = st.text(st.characters(codec="utf-8", exclude_characters="{}$"), max_size=30)


@given(plain, plain, plain, st.sampled_from(["dollar", "python", "jinja"]))
def test_text_around_placeholders_is_untouched(before: str, between: str, after: str, style: Style) -> None:
    marks = {"dollar": "${%s}", "python": "{%s}", "jinja": "{{ %s }}"}[style]
    found = import_templates("", before + marks % "dims" + between + marks % "record" + after, {})
    assert found.user == f"{before}${{dimensions}}{between}${{document}}{after}"
    assert found.style == style
