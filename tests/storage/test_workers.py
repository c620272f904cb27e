"""Workers are told apart by their ids alone, whatever their hosts and processes are called."""

import pytest

from storage import find_leases_of, give_back, give_back_expired, list_workers, sign_off_worker
from storage.claims import claim_trials
from storage.leases import renew_leases
from tests.storage.studies import NOTHING_SEEN, WorkedStudy

pytestmark = pytest.mark.db


def test_workers_of_one_host_name_and_process_id_are_two(shared_url: str) -> None:
    """As in two containers: what is done for or to one leaves the other its trials."""
    study = WorkedStudy(shared_url, n_trials=3)
    other = study.join(lease_seconds=-1)  # lost as soon as it claims
    (own,) = study.claim()
    claim_trials(study.engine, other, 1, NOTHING_SEEN)
    records = list_workers(study.engine, study.study_id)
    assert len({(record.host, record.pid) for record in records}) == 1
    assert [record.n_trials_in_training for record in records] == [1, 1]

    renew_leases(study.engine, study.claimant.worker_id, [own.lease_id], 60)
    assert give_back_expired(study.engine, study.study_id, "it was lost") == 1
    assert find_leases_of(study.engine, other.worker_id) == []
    sign_off_worker(study.engine, other.worker_id)
    (record,) = list_workers(study.engine, study.study_id)
    assert record.worker_id == study.claimant.worker_id

    (lease,) = find_leases_of(study.engine, study.claimant.worker_id)
    assert lease.trial_id == own.trial_id
    assert give_back(study.engine, lease, "it was killed", is_death=True)
