"""What native code prints goes to the log, and afterwards to the screen again."""

import logging
import os

import pytest

from edgenas.core.native_output import native_stderr_logged


def test_lines_are_logged_and_standard_error_comes_back(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "edgenas.core.native_output"):
        with native_stderr_logged():
            os.write(2, b"INFO: chatter\n")
        os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
    assert "INFO: chatter" in caplog.messages


def test_standard_error_comes_back_after_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="inside"), native_stderr_logged():
        raise ValueError("inside")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
