"""Where a study is kept: engines, our own tables, budget and leases. Knows SQL; never torch."""

from storage.budget import (
    LEASE_SECONDS,
    Budget,
    Lease,
    bind_trial,
    change_budget,
    claim_slot,
    create_budget,
    find_budget,
    reopen_slot,
    settle_slot,
)
from storage.causes import Cause, classify
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
    GIVEN_BACK,
    LeaseRenewer,
    WorkerRecord,
    find_expired_leases,
    find_leases_of,
    give_back,
    is_given_back,
    list_workers,
    register_worker,
    renew_leases,
    sign_off_worker,
)
from storage.resilience import Retry
from storage.url import mask_url, parse_url

__all__ = [
    "GIVEN_BACK",
    "LEASE_SECONDS",
    "BadUrlError",
    "Budget",
    "Cause",
    "EmptyStorageError",
    "Lease",
    "LeaseRenewer",
    "Retry",
    "SchemaError",
    "StorageError",
    "UnreachableError",
    "WorkerRecord",
    "bind_trial",
    "change_budget",
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
    "is_given_back",
    "list_workers",
    "mask_url",
    "open_storage",
    "parse_url",
    "register_worker",
    "renew_leases",
    "reopen_slot",
    "settle_slot",
    "sign_off_worker",
]
