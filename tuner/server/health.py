"""Whether the process is alive: for those who restart it."""

from fastapi import APIRouter

router = APIRouter(tags=["health"])


@router.get("/healthz")
@router.head("/healthz", include_in_schema=False)
async def show_health() -> dict[str, str]:
    """Tell that this process answers; touches no database."""
    return {"status": "ok"}
