"""One random student for all engine tests."""

from pathlib import Path

import pytest

from tests.engine.random_student import write_random_student


@pytest.fixture(scope="session")
def random_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `random-student`: real files, trained on nothing."""
    return write_random_student(tmp_path_factory.mktemp("students"))
