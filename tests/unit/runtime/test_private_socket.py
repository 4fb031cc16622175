"""A socket that is never anybody else's."""

import os
import socket
import stat
from pathlib import Path

import pytest

from runtime.private_socket import private_socket


@pytest.mark.parametrize("stale", [False, True])
def test_it_is_the_users_alone_as_soon_as_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stale: bool
) -> None:
    path = str(tmp_path / "s")
    if stale:
        (tmp_path / "s").touch()
    modes: list[int] = []

    class Watched(socket.socket):
        def bind(self, address: str) -> None:  # type: ignore[override]
            super().bind(address)
            modes.append(stat.S_IMODE(os.stat(address).st_mode))

    monkeypatch.setattr(socket, "socket", Watched)
    before = os.umask(0)
    try:
        private_socket(path).close()
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert modes == [0o600]
