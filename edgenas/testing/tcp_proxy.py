"""A way through the network that can be cut, held up and garbled."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

_ADDRESS = "127.0.0.1"
_RESET = struct.pack("ii", 1, 0)


class TcpProxy:
    """Passes connections to its own `port` on to another port of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server((_ADDRESS, 0))
        self.port: int = self._server.getsockname()[1]
        self.n_connections = 0
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._n_until: int | None = None
        self._again: int | None = None
        self._due: Callable[[], None] = self.cut
        self._garbling = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset all connections; new ones are taken."""
        with self._lock:
            sockets, self._open = self._open, []
        for one in sockets:
            _reset(one)

    def cut_after(self, n_bytes: int, *, always: bool = False) -> None:
        """Reset all connections when this many more bytes have passed, once or ever again."""
        with self._lock:
            self._n_until, self._due, self._again = n_bytes, self.cut, n_bytes if always else None

    def stall_after(self, n_bytes: int) -> None:
        """Stall when this many more bytes have passed."""
        with self._lock:
            self._n_until, self._due, self._again = n_bytes, self.stall, None

    def stall(self) -> None:
        """Let nothing pass, and take new connections without an answer."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let things pass again, those held up first."""
        self._flowing.set()

    def garble(self) -> None:
        """Change one byte of what passes next."""
        self._garbling = True

    def close(self) -> None:
        """Cut everything and take no more connections."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._flowing.set()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._server.accept()
                self.n_connections += 1
                try:
                    far = socket.create_connection((_ADDRESS, self._target))
                except OSError:
                    _reset(near)
                    continue
                for end in (near, far):  # else a piece waits until the one before is acknowledged
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 16):
                self._flowing.wait()
                target.sendall(self._changed(content))
                if self._is_due(len(content)):
                    self._due()
        _reset(source)
        _reset(target)

    def _changed(self, content: bytes) -> bytes:
        if not self._garbling:
            return content
        self._garbling = False
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 0x55]) + content[middle + 1 :]

    def _is_due(self, n_bytes: int) -> bool:
        with self._lock:
            if self._n_until is None:
                return False
            self._n_until -= n_bytes
            if self._n_until > 0:
                return False
            self._n_until = self._again
            return True


def _reset(one: socket.socket) -> None:
    """Close a socket so that the other end notices at once, whoever waits on this one included."""
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
