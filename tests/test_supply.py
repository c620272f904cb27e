"""What the image is made of is written down, by hash, and has no version with a known hole."""

import re
import subprocess
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT

_LOCK = (ROOT / "requirements.lock").read_text()
_LOCKED = {
    name: Version(version) for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", _LOCK, re.M)
}
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_EXTRAS = _PROJECT["optional-dependencies"]
_DOCKERFILE = (ROOT / "Dockerfile").read_text()
# The first version without the hole, by the advisory of each.
_SOUND = {
    "torch": "2.10",
    "starlette": "1.0.1",
    "h11": "0.16",
    "pymysql": "1.1.1",
    "filelock": "3.20.3",
    "mako": "1.3.12",
}


def _required() -> list[Requirement]:
    extras = [text for extra in ("postgres", "mysql", "serve") for text in _EXTRAS[extra]]
    return [Requirement(text) for text in (*_PROJECT["dependencies"], *extras)]


def test_lock_holds_all_that_is_required_but_torch() -> None:
    """Each by a version that the project's floors and ceilings allow."""
    for required in _required():
        if required.name not in ("torch", "torchvision"):
            assert required.specifier.contains(_LOCKED[required.name.lower()]), required.name


def test_each_locked_version_has_hashes() -> None:
    """So that what is installed is what was looked at."""
    for block in re.split(r"\n(?=[\w.-]+==)", _LOCK.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_floors_have_no_known_hole() -> None:
    """Whoever installs without the lock gets none of them either."""
    by_name = {required.name.lower(): required.specifier for required in _required()}
    for name, sound in _SOUND.items():
        (floor,) = [Version(s.version) for s in by_name[name] if s.operator == ">="]
        assert floor >= Version(sound), name


def test_bill_of_materials_holds_all_that_the_image_is_made_of(tmp_path: Path) -> None:
    """The lock, and torch with the version that the image has; the tool is only stood in for."""
    made = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "--assume-old=.venv/.dev-installed", "sbom"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    recipe = made.stdout[made.stdout.index("{ cat requirements.lock") :]
    stand_in = tmp_path / "cyclonedx-py"
    stand_in.write_text(f"#!/bin/sh\ncat > {tmp_path / 'read'}\n")
    stand_in.chmod(0o755)
    command = recipe.replace(".venv/bin/cyclonedx-py", str(stand_in))
    subprocess.run(["sh", "-c", command], cwd=ROOT, check=True)
    named = re.findall(r"^([\w.-]+)==", (tmp_path / "read").read_text(), re.M)
    assert named == [*_LOCKED, "torch", "torchvision"]


def test_base_images_are_named_by_digest() -> None:
    """A tag may be another image tomorrow; others may be given."""
    compose = (ROOT / "docker-compose.yml").read_text()
    database = (ROOT / "deploy" / "kubernetes" / "database.yaml").read_text()
    digest = "@sha256:[0-9a-f]{64}"
    assert re.findall(rf"^ARG BASE=python:3\.12-slim-trixie{digest}$", _DOCKERFILE, re.M)
    assert re.findall(r"^FROM (\S+)", _DOCKERFILE, re.M) == ["$BASE"]
    (ours, of_compose) = re.findall(r"^ +image: (\S+)", compose, re.M)
    (of_kubernetes,) = re.findall(r"^ +image: (\S+)", database, re.M)
    assert ours == "lambda-tuner"
    assert of_compose == f"${{POSTGRES_IMAGE:-{of_kubernetes}}}"
    assert re.fullmatch(f"postgres:17{digest}", of_kubernetes)


def test_image_is_made_of_the_lock() -> None:
    """Nothing of the newest, but for torch by its version, and the list is kept in it."""
    assert "--require-hashes --requirement requirements.lock" in _DOCKERFILE
    installs = re.findall(r"^RUN pip install (.*)$", _DOCKERFILE, re.M)
    assert len(installs) == 3
    for install in installs:
        assert "--no-deps" in install or re.search(r"torch==[\d.]+ torchvision==[\d.]+$", install)
    assert "pip inspect > bill-of-materials.json" in _DOCKERFILE
    assert "!requirements.lock" in (ROOT / ".dockerignore").read_text().splitlines()
