"""The phone's process: enters its file system, listens for adb's server, obeys its controller.

Its standard input brings one JSON object a line, its standard output answers each.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgenas.testing.adb.files import serve_files
from edgenas.testing.adb.sandbox import enter
from edgenas.testing.adb.shell import RUNNING, CutError, Fault, serve_shell
from edgenas.testing.adb.transport import Stream, Transport


class Phone:
    """What hosts connect to."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._faults: list[Fault] = []
        self._transports: set[Transport] = set()
        self._commands: list[str] = []

    async def listen(self) -> None:
        """Serve hosts until the controller is gone."""
        server = await asyncio.start_server(
            self._connected, "127.0.0.1", self._options["port"], reuse_address=True
        )
        self._tell({"port": server.sockets[0].getsockname()[1]})
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
        )
        while line := await lines.readline():
            self._tell(self._obey(json.loads(line)))
        server.close()
        self._cut()
        for pid in list(RUNNING):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "fault":
            self._faults.append(Fault(**order["fault"]))
        elif order["do"] == "cut":
            self._cut()
        elif order["do"] == "commands":
            return {"commands": self._commands}
        elif order["do"] == "heal":
            self._faults.clear()
        return {"done": order["do"]}

    def _cut(self) -> None:
        for transport in list(self._transports):
            transport.cut()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = Transport(
            reader,
            writer,
            banner=self._options["banner"],
            service=self._serve,
            authorised=self._options["authorised"],
            delay_s=self._options["delay_s"],
        )
        self._transports.add(transport)
        try:
            await transport.serve()
        finally:
            self._transports.discard(transport)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, service: str, stream: Stream) -> None:
        name, _, text = service.partition(":")
        options = name.split(",")
        if options[0] in ("shell", "exec") and text:
            self._commands.append(text)
            fault = next((one for one in self._faults if one.strikes(text)), None)
            try:
                await serve_shell(text, stream, protocol="v2" in options, fault=fault)
            except CutError:
                self._cut()
        elif service == "sync:":
            await serve_files(stream)

    def _tell(self, answer: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Read the options, enter the phone's file system, serve."""
    options = json.loads(sys.argv[1])
    # Whoever started the host may ignore it (`nohup`); a phone's shells hang up all the same.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    enter(Path(options["folder"]), data_kib=options["data_kib"])
    asyncio.run(Phone(options).listen())


if __name__ == "__main__":
    main()
