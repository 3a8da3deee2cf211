"""The studies that several files look at, and the page's sources with the tools that build them."""

import os

import pytest
from served import small
from studies import alone, crossed, shelf, study

from tests.web.tools import installed

__all__ = ["alone", "crossed", "project", "shelf", "small", "study"]


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """The page's sources elsewhere, with what they need."""
    home = tmp_path_factory.getbasetemp()
    return installed(home.parent if "PYTEST_XDIST_WORKER" in os.environ else home)
