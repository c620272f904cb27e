"""The pipe between a coordinator and what it has started: whole messages over a socket.

The coordinator's end never blocks, whatever the other side does; the other end waits. Towards the
trainer messages are pickles, as the coordinator is trusted; from it they are JSON: what somebody's
code has sent runs nothing here.
"""

import contextlib
import io
import json
import pickle
import socket
import struct
from types import ModuleType
from typing import Any

_HEADER = struct.Struct("!I")
_CHUNK_BYTES = 1 << 18
_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


class Channel:
    """The coordinator's end: sends pickles and receives JSON, without ever blocking."""

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(0)
        self._socket = end
        self._received = bytearray()
        self._unsent = bytearray()
        self.is_closed = False  # by the other side

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        """Tell whether `flush` is to be called when the socket can be written."""
        return bool(self._unsent) and not self.is_closed

    def send(self, message: object) -> None:
        """Send a message, or keep what the other side does not take yet."""
        payload = pickle.dumps(message)
        self._unsent += _HEADER.pack(len(payload)) + payload
        self.flush()

    def send_descriptor(self, descriptor: int) -> None:
        """Send a file descriptor, with one byte; nothing if the other side is gone."""
        with contextlib.suppress(OSError):
            socket.send_fds(self._socket, [b"f"], [descriptor])

    def flush(self) -> None:
        """Send what was kept, as far as it is taken."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.is_closed = True

    def receive(self) -> list[Any]:
        """Return the messages that have come whole, maybe none."""
        try:
            while chunk := self._socket.recv(_CHUNK_BYTES):
                self._received += chunk
                if len(chunk) < _CHUNK_BYTES:
                    break  # that was all; if the other side is gone, the next call says so
            else:
                self.is_closed = True
        except BlockingIOError:
            pass
        except OSError:
            self.is_closed = True
        messages = []
        while (payload := self._pop()) is not None:
            messages.append(json.loads(payload))
        return messages

    def _pop(self) -> bytes | None:
        if len(self._received) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(self._received)
        end = _HEADER.size + length
        if len(self._received) < end:
            return None
        payload = bytes(self._received[_HEADER.size : end])
        del self._received[:end]
        return payload

    def close(self) -> None:
        """Close this end; safe to repeat."""
        self._socket.close()


# Modules of ours that a user's of the same name have replaced in ``sys.modules``.
replaced: dict[str, ModuleType] = {}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        ours = replaced.get(module)
        return super().find_class(module, name) if ours is None else getattr(ours, name)


class WaitingEnd:
    """The other end: sends JSON and receives pickles, waiting as long as it takes.

    Raises EOFError when the coordinator is gone.
    """

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(None)
        self._socket = end

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._socket.fileno()

    def send(self, message: object) -> None:
        """Send a message of plain values."""
        payload = json.dumps(message).encode()
        try:
            self._socket.sendall(_HEADER.pack(len(payload)) + payload)
        except OSError as error:
            raise EOFError from error

    def has_message(self) -> bool:
        """Tell whether `receive` would find something now, if only that the other side is gone."""
        try:
            self._socket.recv(1, _PEEK)
        except BlockingIOError:
            return False
        except OSError as error:
            raise EOFError from error
        return True

    def receive(self) -> Any:
        """Return the next message."""
        (length,) = _HEADER.unpack(self._read(_HEADER.size))
        return _Unpickler(io.BytesIO(self._read(length))).load()

    def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            try:
                chunk = self._socket.recv(length - len(data))
            except OSError as error:
                raise EOFError from error
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)
