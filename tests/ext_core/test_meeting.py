"""Processes that do not all come together."""

import datetime
import socket

import pytest

from ext_core.compat import distribution
from ext_core.errors import UserError


def test_a_process_that_is_alone_does_not_wait_for_hours(monkeypatch):
    """As under Slurm, when another process has ended before; torchrun would end this one."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    place = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'RANK': '1', 'LOCAL_RANK': '0', 'WORLD_SIZE': '2'}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distribution, 'MEETING', datetime.timedelta(seconds=1))
    with pytest.raises(UserError, match='the processes have not all met within'):
        distribution._join_group('gloo', 0)
