"""What the e2e tests share. That this file is here also puts this folder on the import path, so that
the tests find parts.py."""

import pytest

import parts


@pytest.fixture(autouse=True)
def needs_root():
    """Other users' processes are read, namespaces made."""
    if not parts.is_root():
        pytest.skip("needs root")
