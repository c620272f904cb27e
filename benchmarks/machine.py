"""Where the numbers were measured: machine, load, versions."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib

PACKAGES = ("torch", "torchvision", "optuna", "sqlalchemy", "numpy")


def describe_machine() -> dict[str, Any]:
    """Return the facts without which a number means little, by name."""
    return {
        "processor": _processor(),
        "cores": joblib.cpu_count(only_physical_cores=True),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "commit": _commit(),
    }


def machine_line(facts: dict[str, Any], databases: dict[str, str]) -> str:
    """Return the facts in one sentence for people."""
    versions = [f"{package} {facts[package]}" for package in PACKAGES]
    servers = [f"{name} {number}" for name, number in databases.items()]
    return (
        f"{facts['cores']} cores ({facts['processor']}, {facts['system']}), load before "
        f"{facts['load_before']:.1f}, Python {facts['python']}, {', '.join(versions + servers)}"
    )


def _processor() -> str:
    """Return the processor's name, where Linux tells; else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def _commit() -> str | None:
    """Return the commit that was measured, with a mark if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
