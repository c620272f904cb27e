"""Take a study to another database, or to a file and back; its confirmation goes with it."""

import tempfile
from pathlib import Path

from storage import Copied, copy_studies, create_storage, mask_url, open_storage
from tuner.errors import ContradictionError, UsageError
from tuner.study import LoadedStudy, confirmation_name, load_only_study, load_study


def copy_study(url: str, name: str, to_url: str) -> list[Copied]:
    """Copy a study, as it is now, to another database, whose tables are created where missing.

    Raises ContradictionError if it is there already, UsageError if the other database cannot take
    all of it, StudyNotFoundError, StorageError; then, and when interrupted, nothing was copied.
    """
    return _copy(load_study(open_storage(url, read_only=True), name), to_url)


def dump_study(url: str, name: str, file: Path) -> list[Copied]:
    """Copy a study to a new SQLite file; there is none unless all of it is in it.

    Raises what `copy_study` does, and OSError.
    """
    if file.exists():
        raise UsageError(f"{file} is there already: name another --file")
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}-") as folder:
        part = Path(folder) / "study.db"
        copied = copy_study(url, name, f"sqlite:///{part}")
        part.replace(file)
    return copied


def load_dump(file: Path, name: str | None, to_url: str) -> list[Copied]:
    """Copy a study, the only one unless it is named, from such a file; raises as `copy_study`."""
    storage = open_storage(f"sqlite:///{file}", read_only=True)
    return _copy(load_study(storage, name or load_only_study(storage).name), to_url)


def _copy(loaded: LoadedStudy, to_url: str) -> list[Copied]:
    there = {study.study_name for study in loaded.storage.get_all_studies()}
    names = [each for each in (loaded.name, confirmation_name(loaded.name)) if each in there]
    target = create_storage(to_url)
    try:
        copied = copy_studies(loaded.storage.engine, target.engine, names)
        taken = {study.study_name for study in target.get_all_studies()} & set(names)
    except ValueError as error:
        where = mask_url(to_url)
        raise UsageError(f"Study {loaded.name!r} does not fit storage {where}: {error}") from error
    finally:
        loaded.storage.engine.dispose()  # of an SQLite file, all is in the file then
        target.engine.dispose()
    if copied is None:
        raise ContradictionError(
            f"Storage {mask_url(to_url)} holds a study {min(taken)!r} already: rename or delete it "
            "there first"
        )
    return copied
