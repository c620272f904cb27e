"""Where a study is kept: engines, our own tables, budget and leases. Knows SQL; never torch."""

from storage.budget import (
    LEASE_SECONDS,
    Budget,
    Lease,
    StudyState,
    bind_trial,
    change_budget,
    claim_slot,
    create_budget,
    find_budget,
    reopen_slot,
    set_study_state,
    settle_slot,
)
from storage.causes import Cause, classify
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
from storage.leases import (
    LeaseRenewer,
    find_expired_leases,
    find_leases_of,
    is_given_back,
    renew_leases,
)
from storage.resilience import Retry
from storage.upgrade import Upgrade, Versions, upgrade_storage
from storage.url import mask_url, parse_url
from storage.withdrawal import give_back, give_back_expired
from storage.worker_storage import WorkerStorage
from storage.workers import WorkerRecord, list_workers, register_worker, sign_off_worker
from storage.writes import GIVEN_BACK

__all__ = [
    "GIVEN_BACK",
    "LEASE_SECONDS",
    "BadUrlError",
    "Budget",
    "Cause",
    "Claimant",
    "EmptyStorageError",
    "Lease",
    "LeaseRenewer",
    "Retry",
    "SchemaError",
    "StorageError",
    "StorageReport",
    "StudyState",
    "UnreachableError",
    "Upgrade",
    "Versions",
    "WorkerRecord",
    "WorkerStorage",
    "bind_trial",
    "change_budget",
    "check_storage",
    "claim_slot",
    "classify",
    "create_budget",
    "create_storage",
    "creation_lock",
    "explain_database_error",
    "find_budget",
    "find_expired_leases",
    "find_leases_of",
    "give_back",
    "give_back_expired",
    "is_given_back",
    "list_workers",
    "mask_url",
    "open_storage",
    "parse_url",
    "read_uptime",
    "register_worker",
    "renew_leases",
    "reopen_slot",
    "set_study_state",
    "settle_slot",
    "sign_off_worker",
    "upgrade_storage",
]
