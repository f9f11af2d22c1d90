"""Models with small networks: features of VGG are of a narrow one."""

import pytest
from narrow_vgg import narrow_vgg


@pytest.fixture(autouse=True)
def small_vgg(monkeypatch):
    """In every test of this folder."""
    narrow_vgg(monkeypatch)
