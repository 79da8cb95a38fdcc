"""Locks that give a device to one holder: a file on this host, and a folder on the device."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from edgenas.core.errors import DeviceError
from edgenas.core.paths import user_folder
from edgenas.hardware.connectors.base import Connector
from edgenas.hardware.description import LockSettings
from edgenas.hardware.processes import started, this_host
from edgenas.hardware.signals import ending_by_signals, uninterrupted

log = logging.getLogger(__name__)

_POLL_S = 0.2
_POLL_DEVICE_S = 2.0
_TIMEOUT_S = 30.0
_BEATS = 4
"""How often the lock on a device is renewed within the time after which it is stale."""
_ABANDONED: set[str] = set()
"""What this process wrote into locks that it could not remove: those hold nobody back here."""

# The file `holder` is the lock: made if it is not there, by the shell's own exclusive creation.
# Ages are told by the device's time since it was booted, which nobody sets.
_SCRIPT = """
action=$1 folder=$2 mine=$3 theirs=$4
if [ -z "$folder" ]; then
  for folder in /data/local/tmp /tmp; do if [ -w "$folder" ]; then break; fi; done
fi
lock=$folder/edgenas.lock
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
if [ -z "$boot" ]; then boot=-; fi
up=$(cut -d. -f1 /proc/uptime 2>/dev/null)
if [ -z "$up" ]; then up=$(date +%s); fi
beat() {
  rm -f "$lock/beat.$$"
  (set -C; echo "$boot $up" >"$lock/beat.$$") && mv -f "$lock/beat.$$" "$lock/beat"
}
holder() { cat "$lock/holder" 2>/dev/null; }
report() {
  if [ ! -s "$lock/holder" ] || [ ! -e "$lock/beat" ]; then sleep 1; fi
  age=none
  if read -r then_boot then_up 2>/dev/null <"$lock/beat"; then
    if [ "$then_boot" = "$boot" ]; then age=$((up - then_up)); else age=rebooted; fi
  fi
  echo "held $age"; holder
}
take() {
  mkdir -p "$lock" 2>/dev/null; chmod 777 "$lock" 2>/dev/null
  if (set -C; printf '%s\\n' "$mine" >"$lock/holder") 2>/dev/null; then
    if beat; then echo taken; else rm -f "$lock/holder"; exit 1; fi
  elif [ -e "$lock/holder" ]; then report
  else echo "cannot write $lock/holder" >&2; exit 1; fi
}
case $action in
take) take ;;
seize)
  if mkdir "$lock/seize" 2>/dev/null; then
    echo "$boot $up" >"$lock/seize/beat"
    if [ "$(holder)" = "$theirs" ]; then rm -f "$lock/holder" "$lock/beat"; fi
    (take); status=$?
    rm -rf "$lock/seize"; exit $status
  fi
  if [ ! -e "$lock/seize/beat" ]; then sleep 1; fi
  if read -r then_boot then_up 2>/dev/null <"$lock/seize/beat"; then
    if [ "$then_boot" != "$boot" ] || [ $((up - then_up)) -gt 60 ]; then rm -rf "$lock/seize"; fi
  else rmdir "$lock/seize" 2>/dev/null; fi
  take ;;
beat) if [ "$(holder)" = "$mine" ]; then beat && echo kept; else echo lost; holder; fi ;;
drop)
  if [ "$(holder)" = "$mine" ]; then rm -f "$lock/beat" "$lock/holder"; fi
  rmdir "$lock" 2>/dev/null; echo dropped ;;
show) if [ -e "$lock/holder" ]; then report; else echo free; fi ;;
esac
exit 0
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock on a device.

    `age_s` is how long ago the holder was last heard of; None if the device was booted since or
    the holder never finished taking the lock.
    """

    line: str
    age_s: float | None

    @property
    def text(self) -> str:
        """The holder in words."""
        facts = _facts(self.line)
        if not facts:
            return "an unknown holder"
        return (
            f"process {facts.get('pid')} of {facts.get('user')} on {facts.get('host')}, "
            f"since {facts.get('since')}"
        )

    def gone(self, stale_s: float) -> bool:
        """Whether it holds the lock no longer: not heard of, dead, or this process at an end."""
        if self.age_s is None or self.age_s > stale_s or self.line in _ABANDONED:
            return True
        facts = _facts(self.line)
        if facts.get("host_id") != this_host():
            return False
        try:
            process = psutil.Process(int(str(facts.get("pid"))))
            return started(process) != str(facts.get("started"))
        except (psutil.Error, ValueError):
            return True


def lock_path(connector: Connector) -> Path:
    """Return the file on this host that is locked for the device; others are named after it."""
    address = connector.address
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", address)
    if name != address:
        name += "-" + hashlib.sha256(address.encode()).hexdigest()[:8]
    return user_folder() / "locks" / f"{name}.lock"


@contextmanager
def held_on_host(connector: Connector, device_id: str, *, wait_s: float) -> Iterator[None]:
    """Hold the device among all processes of this user on this host.

    The operating system lets go when the process ends, however it ends. The file stays, with the
    last holder's pid.

    Raises:
        DeviceError: another one holds it and did not let go within `wait_s`.
    """
    path = lock_path(connector)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DeviceError(
            f"cannot open the lock {path}: {error.strerror}; "
            "set EDGENAS_HOME to a folder that can be written"
        ) from error
    try:
        end = time.monotonic() + wait_s
        while not _locked(lock):
            if time.monotonic() >= end:
                holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
                raise DeviceError(
                    f"the device {device_id!r} is held by process {holder}; two at once would "
                    "disturb each other's timings; wait until it has ended"
                )
            time.sleep(_POLL_S)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def host_holder(connector: Connector) -> str | None:
    """Return the pid of the process on this host that holds the device, or None."""
    try:
        lock = os.open(lock_path(connector), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if _locked(lock):
            return None
        return os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(lock)


class DeviceLock:
    """The lock on the device itself: holders on several hosts see it.

    It is renewed from time to time by a thread; where that fails for too long, another host takes
    it over, and `lost` says so. It holds nothing back in the device by itself.
    """

    def __init__(self, connector: Connector, settings: LockSettings, device_id: str) -> None:
        self._connector, self._settings, self._id = connector, settings, device_id
        self._line = json.dumps(
            {
                "host": platform.node(),
                "host_id": this_host(),
                "user": str(os.environ.get("USER") or os.getuid()),
                "pid": os.getpid(),
                "started": started(psutil.Process()),
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
                "token": uuid.uuid4().hex,
            }
        )
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost: str | None = None
        """What became of it, in words, such as ``taken over by ...``; None while it is held."""

    @contextmanager
    def held(self, *, wait_s: float) -> Iterator[None]:
        """Hold the lock; SIGTERM and SIGHUP end the body as Ctrl-C does.

        Raises:
            DeviceError: another one holds it and did not let go within `wait_s`, or the folder on
                the device cannot be written.
        """
        self._take(time.monotonic() + wait_s)
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()
        try:
            with ending_by_signals():
                yield
        finally:
            with uninterrupted():
                self._stop.set()
                self._thread.join(_TIMEOUT_S)
                self._drop()

    def holder(self) -> Holder | None:
        """Return who holds the lock now.

        Raises:
            DeviceError: the device cannot be asked.
        """
        return _holder(self._run("show"))

    def beat(self) -> None:
        """Renew the lock now, or learn that it is lost.

        Raises:
            DeviceError: the device cannot be asked.
        """
        verdict, _, line = self._run("beat").partition("\n")
        if verdict != "kept" and self.lost is None:
            holder = Holder(line.strip(), None)
            self.lost = f"taken over by {holder.text}" if holder.line else "removed by somebody"
            log.warning(
                "the lock on the device %r was %s: what is measured now may be disturbed",
                self._id,
                self.lost,
            )

    def renew(self) -> None:
        """Hold the lock on, or again if it was lost and nobody else has it now.

        Raises:
            DeviceError: another one holds it, or the device cannot be asked.
        """
        if self._run("beat").partition("\n")[0] != "kept":
            self._take(time.monotonic())
        self.lost = None
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._renew, daemon=True)
            self._thread.start()

    def _take(self, end: float) -> None:
        verdict = self._run("take")
        while (holder := _holder(verdict)) is not None:
            if holder.gone(self._settings.stale_s):
                log.warning(
                    "the lock on the device %r of %s is stale; it is taken over, and what that "
                    "holder changed there for measuring may still be so",
                    self._id,
                    holder.text,
                )
                verdict = self._run("seize", holder.line)
                continue
            if time.monotonic() >= end:
                raise DeviceError(
                    f"the device {self._id!r} is held by {holder.text}; two at once would disturb "
                    "each other's timings; wait until it has ended"
                )
            time.sleep(min(_POLL_DEVICE_S, max(0.0, end - time.monotonic())))
            verdict = self._run("take")

    def _renew(self) -> None:
        while not self._stop.wait(self._settings.stale_s / _BEATS):
            try:
                self.beat()
            except DeviceError as error:
                log.info("the lock on the device %r is not renewed: %s", self._id, error)
            if self.lost is not None:
                return

    def _drop(self) -> None:
        try:
            self._run("drop")
        except DeviceError as error:
            _ABANDONED.add(self._line)
            log.warning(
                "the lock on the device %r cannot be removed (%s); others wait for it for %g s",
                self._id,
                error,
                self._settings.stale_s,
            )

    def _run(self, action: str, theirs: str = "") -> str:
        argv = ["sh", "-c", _SCRIPT, "sh", action, self._settings.folder or "", self._line, theirs]
        done = self._connector.run(argv, _TIMEOUT_S)
        text = done.stdout.decode(errors="replace").strip()
        if done.status != 0 or not text:
            reason = done.stderr.decode(errors="replace").strip() or f"status {done.status}"
            raise DeviceError(
                f"the lock on the device {self._id!r} cannot be used: {reason}; free space there, "
                "or name another folder under lock: {folder: ...} in its description"
            )
        return text


def _holder(verdict: str) -> Holder | None:
    """Return the holder in what the script printed, None if there is no other one."""
    head, _, line = verdict.partition("\n")
    word, _, age = head.partition(" ")
    if word != "held":
        return None
    return Holder(line.strip(), float(age) if re.fullmatch(r"-?\d+", age) else None)


def _facts(line: str) -> Mapping[str, object]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _locked(descriptor: int) -> bool:
    """Try to take the lock of an open file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
