"""Describe the machine, and measure how much of it other programs use. Linux gives the most details."""

import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

SIMD = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm")


def simd() -> list[str]:
    """Return the arithmetic instruction sets that the system lets programs use, among those that matter here."""
    info = _cpu_info()
    flags = (info.get("flags") or info.get("Features") or "").split()
    return [name for name in SIMD if name in flags]


def describe() -> dict[str, object]:
    """Return the processor's name, the instruction sets that matter here, memory and operating system."""
    info = _cpu_info()
    model = info.get("model name") or _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return {
        "cpu": model,
        "family": f"{info['vendor_id']} family {info['cpu family']} model {info['model']}"
        if "cpu family" in info
        else "",
        "simd": simd(),
        "l3": _text("/sys/devices/system/cpu/cpu0/cache/index3/size"),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


class Neighbours:
    """Measures how much of the processors programs other than this one and its children take."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._busy = _busy_seconds()
        self._own = _own_seconds()

    def share(self) -> float | None:
        """Return the share (0 to 1) since creation; None if unknown. Children count once they have ended."""
        if self._busy is None or (busy := _busy_seconds()) is None:
            return None
        available = (time.monotonic() - self._since) * (os.cpu_count() or 1)
        others = busy - self._busy - (_own_seconds() - self._own)
        return max(0.0, others / available)


def _cpu_info() -> dict[str, str]:
    if sys.platform != "linux":
        return {}
    first = _text("/proc/cpuinfo").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _text(path: str) -> str:
    """Read a file of the kernel; empty if there is none."""
    return Path(path).read_text(encoding="utf-8").strip() if Path(path).exists() else ""


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _busy_seconds() -> float | None:
    """Return the processor time of all programs, including what the host took from this machine."""
    if sys.platform != "linux":
        return None
    fields = _text("/proc/stat").split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, soft_irq, steal = map(int, fields[:8])
    return (user + nice + system + irq + soft_irq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
