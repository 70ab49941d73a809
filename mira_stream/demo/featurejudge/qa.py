"""The feature judge of the qa group: shares and means over the rendered, cut view, question and answer together,
and one over the answer alone.

Cut points are deciles over training views of both sources together; where many views have none of a thing, having
none is the first level.
"""

from typing import Final

from mira_stream.demo.featurejudge.measures import (
    CODE_WORDS,
    CONCEPT_ENDINGS,
    FUNCTION_WORDS,
    INTERFACE_WORDS,
    LOGIC_WORDS,
    OPERATORS,
    QUOTES,
    SENTENCE_END,
    answer_words,
    log_words,
    matches,
    of_characters,
    of_words,
    variety,
    word_length,
)
from mira_stream.demo.featurejudge.scale import Feature

FEATURES: Final[tuple[Feature, ...]] = (
    Feature(
        ("Prose explanation", "Explanatory prose"),
        of_words(FUNCTION_WORDS),
        (3.85, 5.71, 7.59, 9.09, 10.6, 12.3, 14.2, 16.7, 20.0),
        True,
        "hardly any prose",
        "explained in prose",
    ),
    Feature(
        ("Answer depth", "Depth of the answer"),
        answer_words,
        (0.0, 1.39, 2.4, 2.94, 3.33, 3.69, 4.09, 4.52, 4.96),
        True,
        "a few words of answer",
        "a long answer",
    ),
    Feature(
        ("Interface description", "API documentation"),
        matches(INTERFACE_WORDS),
        (0.0, 2.75, 4.35, 5.81, 7.44, 9.26, 11.5, 14.4, 19.4),
        True,
        "nothing on the interface",
        "interface described",
    ),
    Feature(
        ("Working code", "Code content"),
        of_words(CODE_WORDS),
        (0.68, 2.97, 4.55, 6.07, 7.69, 9.26, 11.0, 13.1, 16.3),
        True,
        "no code",
        "real code",
    ),
    Feature(
        ("Substance", "Amount of content"),
        log_words,
        (3.3, 3.64, 3.97, 4.22, 4.44, 4.68, 4.91, 5.0, 5.07),
        True,
        "a few words",
        "much to read",
    ),
    Feature(
        ("Full sentences", "Sentence completeness"),
        matches(SENTENCE_END),
        (4.65, 6.74, 8.93, 10.6, 12.3, 14.1, 16.2, 18.6, 22.3),
        True,
        "fragments only",
        "full sentences throughout",
    ),
    Feature(
        ("Vocabulary richness", "Lexical variety"),
        variety,
        (3.36, 3.84, 4.26, 4.62, 5.03, 5.39, 5.79, 6.27, 6.85),
        True,
        "the same words again",
        "rich vocabulary",
    ),
    Feature(
        ("Precise wording", "Word precision"),
        word_length,
        (3.92, 4.26, 4.47, 4.64, 4.79, 4.96, 5.14, 5.33, 5.66),
        True,
        "short, bare words",
        "long, telling words",
    ),
    Feature(
        ("Concept words", "Concepts and actions"),
        matches(CONCEPT_ENDINGS),
        (4.07, 5.41, 6.92, 8.4, 9.93, 11.7, 13.7, 16.1, 20.0),
        True,
        "no concepts named",
        "concepts and actions named",
    ),
    Feature(
        ("Logical structure", "Conditions and relations"),
        of_words(LOGIC_WORDS),
        (1.31, 3.33, 4.6, 5.8, 6.9, 7.89, 9.09, 10.5, 12.5),
        True,
        "bare statements",
        "conditions and relations",
    ),
    Feature(
        ("Descriptive names", "Identifier naming"),
        of_characters("_"),
        (0.0, 5.83, 9.22, 12.1, 15.1, 18.5, 22.6, 27.7, 36.2),
        True,
        "one-word names",
        "composed names",
    ),
    Feature(
        ("Free of raw data", "Numeric noise"),
        of_characters("0123456789"),
        (0.0, 1.12, 4.07, 6.57, 11.0, 16.9, 28.0, 47.4, 88.8),
        False,
        "mostly numbers",
        "hardly a number",
    ),
    Feature(
        ("Free of symbols", "Operator clutter"),
        of_characters(OPERATORS),
        (18.7, 23.7, 29.0, 35.4, 45.0, 57.8, 72.2, 88.1, 109.0),
        False,
        "operators everywhere",
        "hardly an operator",
    ),
    Feature(
        ("Flat structure", "Nesting depth"),
        of_characters("()[]{}"),
        (16.1, 21.0, 25.4, 30.1, 34.7, 40.5, 48.5, 61.9, 85.9),
        False,
        "brackets in brackets",
        "flat and open",
    ),
    Feature(
        ("Few literals", "Quoted literals"),
        of_characters(QUOTES),
        (0.0, 3.76, 6.51, 9.53, 12.6, 16.3, 21.2, 27.5, 37.9),
        False,
        "quoted literals everywhere",
        "hardly a literal",
    ),
)
"""The judge's own list, in no order that matters: a rubric says by name which stands in which slot."""
