"""Where a study is kept: its database, budget, workers and trials. Knows SQL; never torch."""

from storage.budget import (
    Budget,
    StudyState,
    change_budget,
    create_budget,
    find_budget,
    set_study_state,
)
from storage.check import StorageReport, check_storage
from storage.claims import Claimant
from storage.clock import read_uptime
from storage.engine import (
    create_storage,
    creation_lock,
    explain_database_error,
    open_storage,
)
from storage.errors import (
    BadUrlError,
    EmptyStorageError,
    SchemaError,
    StorageError,
    UnreachableError,
)
from storage.exports import (
    Export,
    NewExport,
    find_last_export,
    list_exports,
    record_export,
    who_am_i,
)
from storage.leases import LEASE_SECONDS, Lease, find_leases_of
from storage.queue import QueuedTrial, find_key, set_queue
from storage.resilience import Retry
from storage.upgrade import Upgrade, upgrade_storage
from storage.url import mask_url, parse_url
from storage.withdrawal import give_back, give_back_expired, is_given_back
from storage.worker_storage import WorkerStorage
from storage.workers import list_workers, register_worker, sign_off_worker
from storage.writes import GIVEN_BACK

__all__ = [
    "GIVEN_BACK",
    "LEASE_SECONDS",
    "BadUrlError",
    "Budget",
    "Claimant",
    "EmptyStorageError",
    "Export",
    "Lease",
    "NewExport",
    "QueuedTrial",
    "Retry",
    "SchemaError",
    "StorageError",
    "StorageReport",
    "StudyState",
    "UnreachableError",
    "Upgrade",
    "WorkerStorage",
    "change_budget",
    "check_storage",
    "create_budget",
    "create_storage",
    "creation_lock",
    "explain_database_error",
    "find_budget",
    "find_key",
    "find_last_export",
    "find_leases_of",
    "give_back",
    "give_back_expired",
    "is_given_back",
    "list_exports",
    "list_workers",
    "mask_url",
    "open_storage",
    "parse_url",
    "read_uptime",
    "record_export",
    "register_worker",
    "set_queue",
    "set_study_state",
    "sign_off_worker",
    "upgrade_storage",
    "who_am_i",
]
