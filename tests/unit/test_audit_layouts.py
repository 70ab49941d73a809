"""Which window layout held when, from what summaries say."""

from mira_stream.audit.layouts import Layout, Layouts

A, B, C = Layout(100, 10), Layout(200, 10), Layout(100, 20)


def test_without_summaries_it_is_the_projects() -> None:
    assert Layouts([], B).at(7) == B


def test_a_source_has_the_layout_of_its_time_and_none_if_it_began_about_a_change() -> None:
    layouts = Layouts([(5, A), (9, A), (20, B), (30, B)], B)
    assert [layouts.at(offset) for offset in (0, 4, 5, 19, 20, 29, 40)] == [A, A, None, None, B, B, B]
    assert A in layouts
    assert B in layouts


def test_a_project_that_changed_since_the_last_summary_says_nothing_about_new_sources() -> None:
    layouts = Layouts([(5, A), (9, A)], C)
    assert (layouts.at(8), layouts.at(9)) == (A, None)


def test_one_summary_between_others_that_agree_is_nobodys_setting() -> None:
    for told in ([(5, A), (6, C), (7, A)], [(5, A), (6, C)]):
        layouts = Layouts(told, A)
        assert C not in layouts
        assert layouts.at(5) == A
    assert C in Layouts([(5, A), (6, C), (7, B)], B), "it led from one to the other"


def test_a_window_given_up_at_a_change_of_size_and_grace_is_of_before_whatever_comes_around_it() -> None:
    before, after, given_up = Layout(2, 8), Layout(20, 0), Layout(2, 0)
    for told in ([(33, after), (33, given_up), (47, after)], [(33, after), (33, given_up)]):
        layouts = Layouts([(28, before), (32, before), *told], after)
        assert given_up in layouts
        assert (layouts.at(31), layouts.at(32), layouts.at(50)) == (before, None, after)
    assert given_up not in Layouts([(32, before), (33, after), (40, given_up), (47, after)], after), (
        "later it is nobody's"
    )
