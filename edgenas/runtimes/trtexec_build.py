"""Builds engine files with `trtexec`, with the timings of kernels that earlier builds kept.

The tool writes its timing cache in place, takes one of another GPU for its own, and gives up over
a damaged one. So it is given a copy, of this version and GPU alone, whose name has told its
content's hash; what it makes of the copy is kept under a new name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgenas.core.errors import AgentError, DeviceError, RefusedError
from edgenas.hardware.connectors.base import Completed, Connector
from edgenas.runtimes.agent.tensorrt_build import timings_key
from edgenas.runtimes.engine_files import Gpu, TimingsUse

log = logging.getLogger(__name__)

_SHORT_S = 30.0
_SKIPS = (8, 6)
"""The version from which on running the engine is left out by another option's name."""
_UNUSED = re.compile(r"timing ?cache will not be used|invalid timing cache", re.IGNORECASE)
_NOT_NATIVE = re.compile(r"hardware without native (FP16|INT8)", re.IGNORECASE)
_NATIVE = {"float16": "FP16", "int8": "INT8"}
# $1: folder, $2: key, $3: the copy; prints the size of what it copied, 0 for nothing
_TAKE = """
umask 077
rm -f -- "$3"
command -v sha256sum >/dev/null || { echo 0; exit 0; }
for file in "$1/$2".????????????????.cache; do
  [ -f "$file" ] || continue
  sum=$(sha256sum < "$file" | cut -c 1-16)
  case $file in
    *".$sum.cache") cp -- "$file" "$3" && { wc -c < "$3"; exit 0; } ;;
  esac
  echo "${file##*/} is damaged" >&2
  rm -f -- "$file"
done
echo 0
"""
# $1: folder, $2: key, $3: the copy; prints the size of what it kept
_KEEP = """
umask 077
[ -s "$3" ] || { echo 0; exit 0; }
sum=$(sha256sum < "$3" | cut -c 1-16)
[ "${#sum}" -eq 16 ] || { echo "there is no sha256sum" >&2; exit 1; }
new="$1/$2.$sum.cache"
cp -- "$3" "$new.part" && mv -f -- "$new.part" "$new" || { rm -f -- "$new.part"; exit 1; }
for file in "$1/$2".????????????????.cache; do
  [ "$file" = "$new" ] || rm -f -- "$file"
done
wc -c < "$new"
"""
_FORGET = 'rm -f -- "$1/$2".????????????????.cache'


def skipping(version: str) -> str:
    """Return the option with which a version of the tool builds and does not run."""
    numbers = tuple(int(part) for part in version.split(".")[:2])
    return "--skipInference" if numbers >= _SKIPS else "--buildOnly"


@dataclass(frozen=True, slots=True)
class Kept:
    """Where timings are kept on a device, and the copy that one build works on."""

    connector: Connector
    folder: str
    key: str
    copy: str

    @classmethod
    def of(cls, connector: Connector, folder: str, version: str, gpu: Gpu, copy: str) -> Kept:
        """Return those of a version of the tool on a kind of GPU."""
        key = timings_key(f"trtexec-{version}", gpu.model_dump())
        return cls(connector, folder, key, copy)

    def build(
        self, argv: Sequence[str], run: Callable[[Sequence[str]], str]
    ) -> tuple[str, TimingsUse]:
        """Build with what is kept, and once more without if the tool fails over that.

        `run` runs the tool and returns what it printed, or raises AgentError.
        """
        used_bytes, problem = self._take()
        given = [*argv, f"--timingCacheFile={self.copy}"]
        try:
            text = run(given)
        except AgentError as error:
            if not used_bytes:
                raise
            self.connector.run(["rm", "-f", self.copy], _SHORT_S)
            text = run(given)
            problem = f"what was kept is of another version or damaged ({error})"
            used_bytes = 0
            self._shell(_FORGET)
        if used_bytes and _UNUSED.search(text):
            problem, used_bytes = "what was kept is of another version or damaged", 0
            self._shell(_FORGET)
        kept_bytes, not_kept = self._keep()
        use = TimingsUse(used_bytes=used_bytes, kept_bytes=kept_bytes, problem=problem or not_kept)
        return text, use

    def _take(self) -> tuple[int, str]:
        done = self._shell(_TAKE)
        return _number(done.stdout), done.stderr.decode(errors="replace").strip()

    def _keep(self) -> tuple[int, str]:
        done = self._shell(_KEEP)
        if done.status == 0:
            return _number(done.stdout), ""
        said = done.stderr.decode(errors="replace").strip() or "it did not say why"
        return 0, f"timings could not be kept: {said}"

    def _shell(self, script: str) -> Completed:
        argv = ["sh", "-c", script, "sh", self.folder, self.key, self.copy]
        return self.connector.run(argv, _SHORT_S)


def refuse_other_precision(text: str, precision: str) -> None:
    """Refuse an engine that was built in another precision, as the tool printed in passing.

    Raises:
        RefusedError: the GPU has none of its own, and another one was taken.
    """
    found = _NOT_NATIVE.search(text)
    if found is not None and found[1].upper() == _NATIVE.get(precision):
        raise RefusedError(f"this GPU has no {precision} of its own: trtexec says {found[0]!r}")


def remove(connector: Connector, paths: Sequence[str]) -> None:
    """Remove files of the device, if it can be reached; what stays goes with the connector."""
    try:
        connector.run(["rm", "-f", *paths], _SHORT_S)
    except DeviceError as error:
        log.debug("%s stay on the device: %s", ", ".join(paths), error)


def _number(printed: bytes) -> int:
    text = printed.decode(errors="replace").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else 0
