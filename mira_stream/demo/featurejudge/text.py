"""The feature judge of the text group: fifteen shares and means over the rendered, cut view.

Cut points are deciles over training views of both sources together; where many views have none of a thing, having
none is the first level.
"""

from typing import Final

from mira_stream.demo.featurejudge.measures import (
    CONCEPT_ENDINGS,
    FUNCTION_WORDS,
    JOINED,
    LOGIC_WORDS,
    QUOTES,
    SENTENCE_END,
    SYMBOLS,
    capitals,
    line_length,
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
        (0.0, 2.46, 4.86, 7.46, 10.4, 13.5, 17.0, 20.3, 24.7),
        True,
        "hardly any prose",
        "explained in prose",
    ),
    Feature(
        ("Full sentences", "Sentence completeness"),
        matches(SENTENCE_END),
        (1.33, 5.08, 6.92, 8.56, 9.94, 11.4, 13.0, 15.0, 18.4),
        True,
        "fragments only",
        "full sentences throughout",
    ),
    Feature(
        ("Substance", "Amount of content"),
        log_words,
        (3.71, 4.03, 4.26, 4.47, 4.63, 4.81, 4.93, 5.0, 5.06),
        True,
        "a few words",
        "much to read",
    ),
    Feature(
        ("Vocabulary richness", "Lexical variety"),
        variety,
        (3.46, 4.07, 4.58, 5.04, 5.47, 5.88, 6.33, 6.85, 7.48),
        True,
        "the same words again",
        "rich vocabulary",
    ),
    Feature(
        ("Precise wording", "Word precision"),
        word_length,
        (4.14, 4.48, 4.69, 4.85, 4.99, 5.14, 5.3, 5.52, 5.88),
        True,
        "short, bare words",
        "long, telling words",
    ),
    Feature(
        ("Concept words", "Concepts and actions"),
        matches(CONCEPT_ENDINGS),
        (0.0, 2.68, 4.88, 6.93, 9.24, 11.4, 13.9, 16.6, 20.9),
        True,
        "no concepts named",
        "concepts and actions named",
    ),
    Feature(
        ("Logical structure", "Conditions and relations"),
        of_words(LOGIC_WORDS),
        (1.45, 3.95, 5.68, 7.02, 8.26, 9.3, 10.5, 12.0, 14.2),
        True,
        "bare statements",
        "conditions and relations",
    ),
    Feature(
        ("Free of symbols", "Symbol clutter"),
        of_characters(SYMBOLS),
        (17.3, 27.3, 35.3, 42.6, 49.8, 57.8, 69.2, 86.2, 113.0),
        False,
        "symbols everywhere",
        "hardly a symbol",
    ),
    Feature(
        ("Free of raw data", "Numeric noise"),
        of_characters("0123456789"),
        (0.0, 3.3, 4.7, 6.82, 9.8, 13.3, 19.3, 33.5, 77.0),
        False,
        "mostly numbers",
        "hardly a number",
    ),
    Feature(
        ("Flat structure", "Nesting depth"),
        of_characters("()[]{}"),
        (0.0, 4.42, 8.85, 15.4, 22.5, 29.1, 36.2, 44.9, 57.7),
        False,
        "brackets in brackets",
        "flat and open",
    ),
    Feature(
        ("Few literals", "Quoted literals"),
        of_characters(QUOTES),
        (0.0, 5.15, 10.1, 14.9, 19.8, 25.1, 31.5, 39.7, 53.7),
        False,
        "quoted literals everywhere",
        "hardly a literal",
    ),
    Feature(
        ("Little listing", "Enumeration"),
        of_characters(","),
        (0.0, 2.69, 4.67, 6.46, 8.49, 10.6, 13.4, 17.4, 24.0),
        False,
        "one long list",
        "no listing",
    ),
    Feature(
        ("Stands on its own", "Self-containedness"),
        matches(JOINED),
        (0.0, 1.27, 4.13, 7.04, 9.95, 13.4, 17.3, 22.5, 31.4),
        False,
        "paths and links everywhere",
        "stands on its own",
    ),
    Feature(
        ("Calm case", "Capitalisation"),
        capitals,
        (1.38, 2.09, 2.74, 3.41, 4.19, 5.19, 6.5, 8.75, 16.6),
        False,
        "capitals everywhere",
        "calm lower case",
    ),
    Feature(
        ("Short lines", "Line length"),
        line_length,
        (30.8, 34.5, 37.8, 40.7, 43.6, 46.6, 50.7, 56.4, 66.3),
        False,
        "very long lines",
        "short lines",
    ),
)
"""The judge's own list, in no order that matters: a rubric says by name which stands in which slot."""
