"""Assemble the service from its parts; each part is made here and handed to those who need it.

A request passes the root, the meter, the headers, the crowd, the checks, the gate and the body
limit, in this order, then the routes, and what is none of them goes to the dashboard. To add
routes, add a router here.
"""

import threading
from dataclasses import dataclass

from fastapi import FastAPI
from optuna.artifacts._protocol import ArtifactStore
from optuna.storages import RDBStorage
from starlette.types import ASGIApp

from storage import create_storage, has_accounts
from tuner.errors import UsageError
from tuner.metrics.registry import make_registry
from tuner.server import best, events, passwords, studies, trials, workers
from tuner.server.api import Api, add_api
from tuner.server.auth import Authenticator
from tuner.server.catalog import Catalog, SharedAnswers
from tuner.server.checks import BodyLimit, Checks
from tuner.server.dashboard import Dashboard
from tuner.server.gate import Gate
from tuner.server.headers import SecurityHeaders
from tuner.server.health import build_health
from tuner.server.metering import Meter, RouteNotes
from tuner.server.metrics import build_metrics
from tuner.server.pages import build_pages
from tuner.server.problems import add_problem_handlers
from tuner.server.root import Root
from tuner.server.settings import ServerSettings
from tuner.server.shares import Crowd


@dataclass(frozen=True)
class Service:
    """The assembled service, and its parts for those who run it or look at it.

    ``leaving`` is set when the process has been asked to end: answers that go on and on obey it.
    """

    asgi: ASGIApp
    routes: FastAPI
    dashboard: Dashboard
    storage: RDBStorage
    is_open: bool
    leaving: threading.Event


def create_service(
    settings: ServerSettings, artifact_store: ArtifactStore | None = None
) -> Service:
    """Open the storage, creating its tables where there are none, and assemble the service.

    Raises UsageError if strangers could reach a service on which nobody has an account.
    """
    storage = create_storage(settings.storage_url)
    engine = storage.engine
    is_open = not has_accounts(engine)
    if is_open and (not settings.is_loopback or settings.trusted_proxies):
        option = "--trusted-proxy" if settings.is_loopback else f"--host {settings.host}"
        raise UsageError(
            f"Nobody has an account, so the service stays on this machine: `tuner user add NAME "
            f"--role admin` first, or leave out {option}"
        )
    passwords.dummy_hash()
    dashboard = Dashboard(storage, artifact_store)
    routes = FastAPI(
        title="lambda-tuner",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    registry = make_registry()
    routes.include_router(build_health(storage))
    routes.include_router(build_metrics(engine, registry))
    routes.include_router(build_pages(engine))
    api = Api(Catalog(storage, dashboard.shown), SharedAnswers(), settings.allowed)
    # In this order: what follows a name in a path comes before the name alone.
    routers = (trials.router, workers.router, best.router, events.router, studies.router)
    add_api(routes, api, routers)
    routes.router.default = dashboard
    add_problem_handlers(routes)
    gate = Gate(BodyLimit(RouteNotes(routes)), Authenticator(engine, is_open=is_open), engine)
    checked = SecurityHeaders(Crowd(Checks(gate, settings)))
    asgi = Root(Meter(checked, registry), settings.root_path)
    return Service(asgi, routes, dashboard, storage, is_open, threading.Event())
