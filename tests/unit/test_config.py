"""What is said of a mira.toml that is wrong."""

from pathlib import Path

import pytest

from mira_stream.config import read_settings
from mira_stream.errors import ConfigError

GROUP = '[groups.qa]\nfamily = "qa"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[groups.text]\ndocument_tokens_max = 100\n", "[groups.text]: Object missing required field `family`"),
        ('[groups.text]\nfamily = "prose"\n', "[groups.text]: Invalid enum value 'prose' - at `$.family`"),
        ('[groups.Text]\nfamily = "text"\n', "[groups.Text]: a name must match"),
        ('[groups.text]\nfamily = "text"\n[groups.text.cascade]\nloss = 2.0\n', "[groups.text]: Expected `float` < 1"),
        ('[sources."a b"]\nfamily = "text"\n', "[sources.a b]: a name must match"),
        ('[sources."notes\\n"]\nfamily = "text"\n', "a name must match"),
        ('[groups."text\\n"]\nfamily = "text"\n', "a name must match"),
        ('[sources.notes]\nfamily = "text"\nretain = 0.5\n', "[sources.notes]: Object contains unknown field `retain`"),
        ("[broker]\ntransaction_timeout_ms = 900001\n", "Expected `int` <= 900000"),
        ('[teacher]\ntemperature = "hot"\n', "Expected `float`, got `str` - at `$.teacher.temperature`"),
    ],
)
def test_the_table_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="project_invalid") as caught:
        read_settings(f"{GROUP}{text}".encode(), Path("mira.toml"), {})
    assert said in caught.value.cause
