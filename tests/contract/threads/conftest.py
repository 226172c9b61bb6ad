import resource

import pytest


@pytest.fixture
def limited():
    """limited(soft, hard) is a preexec_fn for a program that may have so many files open."""
    return lambda soft, hard: lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
