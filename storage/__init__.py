"""Where a study is kept: its database, budget, workers and trials. Knows SQL; never torch."""

from storage.accounts import (
    Role,
    User,
    create_user,
    find_password_hash,
    has_accounts,
    list_users,
    remove_user,
    set_password_hash,
    set_role,
)
from storage.audit import AuditEntry, list_audit, prune_audit, record_action
from storage.backup import back_up, restore
from storage.budget import (
    Budget,
    StudyState,
    change_budget,
    create_budget,
    find_budget,
    find_state,
    set_study_state,
)
from storage.causes import Cause
from storage.check import StorageReport, check_storage, explain_damage
from storage.claims import Claimant
from storage.clock import read_uptime
from storage.copying import Copied, copy_studies
from storage.credentials import (
    SESSION_SECONDS,
    Bearer,
    Token,
    create_session,
    create_token,
    end_session,
    find_sessions,
    find_tokens,
    list_tokens,
    note_use,
    revoke_token,
)
from storage.engine import (
    create_storage,
    creation_lock,
    explain_database_error,
    only_reading,
    open_storage,
)
from storage.errors import (
    AccountError,
    BadUrlError,
    CopyError,
    EmptyStorageError,
    ReplacedError,
    RolledBackError,
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
from storage.fencing import note_rollback
from storage.founding import (
    find_directions,
    found_study,
    mend_budget,
    set_direction,
    set_spec,
)
from storage.guests import fits
from storage.importing import import_trials
from storage.leases import LEASE_SECONDS, Lease, find_leases_of
from storage.limits import Limits
from storage.logins import begin_login, find_wait, paces_of, take_back
from storage.origin import ORIGIN, is_own
from storage.queue import QueuedTrial, find_key, set_queue
from storage.renaming import rename_studies
from storage.resilience import Retry
from storage.sqlite_files import close_to_others
from storage.studies import (
    StudyRecord,
    find_study,
    list_forsaken,
    list_open,
    list_over,
    list_studies,
    tell_apart,
)
from storage.totals import StudyTotals, Totals, load_totals
from storage.trial_rows import (
    SortKey,
    TrialQuery,
    TrialRow,
    list_trial_rows,
)
from storage.upgrade import Upgrade, is_current, upgrade_storage
from storage.url import mask_url, parse_url, sqlite_file, with_password
from storage.watching import watch_calls
from storage.withdrawal import (
    TRAINER_DIED,
    WORKER_LOST,
    Withdrawal,
    give_back,
    give_back_expired,
    is_given_back,
)
from storage.worker_storage import WorkerStorage
from storage.workers import list_workers, register_worker, sign_off_worker
from storage.writes import ERROR, GIVEN_BACK

__all__ = [
    "ERROR",
    "GIVEN_BACK",
    "LEASE_SECONDS",
    "ORIGIN",
    "SESSION_SECONDS",
    "TRAINER_DIED",
    "WORKER_LOST",
    "AccountError",
    "AuditEntry",
    "BadUrlError",
    "Bearer",
    "Budget",
    "Cause",
    "Claimant",
    "Copied",
    "CopyError",
    "EmptyStorageError",
    "Export",
    "Lease",
    "Limits",
    "NewExport",
    "QueuedTrial",
    "ReplacedError",
    "Retry",
    "Role",
    "RolledBackError",
    "SchemaError",
    "SortKey",
    "StorageError",
    "StorageReport",
    "StudyRecord",
    "StudyState",
    "StudyTotals",
    "Token",
    "Totals",
    "TrialQuery",
    "TrialRow",
    "UnreachableError",
    "Upgrade",
    "User",
    "Withdrawal",
    "WorkerStorage",
    "back_up",
    "begin_login",
    "change_budget",
    "check_storage",
    "close_to_others",
    "copy_studies",
    "create_budget",
    "create_session",
    "create_storage",
    "create_token",
    "create_user",
    "creation_lock",
    "end_session",
    "explain_damage",
    "explain_database_error",
    "find_budget",
    "find_directions",
    "find_key",
    "find_last_export",
    "find_leases_of",
    "find_password_hash",
    "find_sessions",
    "find_state",
    "find_study",
    "find_tokens",
    "find_wait",
    "fits",
    "found_study",
    "give_back",
    "give_back_expired",
    "has_accounts",
    "import_trials",
    "is_current",
    "is_given_back",
    "is_own",
    "list_audit",
    "list_exports",
    "list_forsaken",
    "list_open",
    "list_over",
    "list_studies",
    "list_tokens",
    "list_trial_rows",
    "list_users",
    "list_workers",
    "load_totals",
    "mask_url",
    "mend_budget",
    "note_rollback",
    "note_use",
    "only_reading",
    "open_storage",
    "paces_of",
    "parse_url",
    "prune_audit",
    "read_uptime",
    "record_action",
    "record_export",
    "register_worker",
    "remove_user",
    "rename_studies",
    "restore",
    "revoke_token",
    "set_direction",
    "set_password_hash",
    "set_queue",
    "set_role",
    "set_spec",
    "set_study_state",
    "sign_off_worker",
    "sqlite_file",
    "take_back",
    "tell_apart",
    "upgrade_storage",
    "watch_calls",
    "who_am_i",
    "with_password",
]
