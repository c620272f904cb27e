"""Whether the process is alive, for those who restart it, and whether it can serve, for those who
send requests to it. Both answer strangers, so they say no more than that.
"""

from fastapi import APIRouter, HTTPException
from optuna.storages import RDBStorage

from storage import is_current
from tuner.server.shared_look import SharedLook


def build_health(storage: RDBStorage) -> APIRouter:
    """Return the two routes."""
    router = APIRouter(tags=["health"])
    database = SharedLook(lambda: is_current(storage))

    @router.get("/healthz")
    @router.head("/healthz", include_in_schema=False)
    async def show_health() -> dict[str, str]:
        """Tell that this process answers; touches no database."""
        return {"status": "ok"}

    @router.get("/readyz")
    @router.head("/readyz", include_in_schema=False)
    async def show_readiness() -> dict[str, str]:
        """Tell whether the database answers and has this version's tables; else 503."""
        match await database.get():
            case None:
                reason = "The database does not answer"
            case False:
                reason = "The database's tables are of another version"
            case True:
                return {"status": "ready"}
        raise HTTPException(503, reason, {"Retry-After": "5"})

    return router
