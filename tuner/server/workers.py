"""The API's workers of a study: who they are, and whether they are alive."""

from dataclasses import asdict

from fastapi import APIRouter

from storage import list_workers
from tuner.server.api import Shared, StudyName, Viewer, problems
from tuner.server.models import WorkerList, WorkerStatus

router = APIRouter(prefix="/v1/studies", tags=["workers"])


@router.get("/{name:path}/workers", responses=problems(404))
def list_all_workers(name: StudyName, api: Shared, _who: Viewer) -> WorkerList:
    """List the workers of a study that have not signed off."""
    loaded = api.catalog.get(name)
    records = list_workers(api.catalog.engine, loaded.study_id)
    return WorkerList(workers=[WorkerStatus(**asdict(record)) for record in records])
