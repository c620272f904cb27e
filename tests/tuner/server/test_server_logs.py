"""`tuner serve --log-format json`: each line of the service is an object, too."""

import json
from pathlib import Path

import httpx2

from storage import create_storage
from tests.tuner.server.conftest import StartServer, add_accounts


def test_service_logs_as_json(start_server: StartServer, tmp_path: Path) -> None:
    """Its address, which others wait for, what it warns of, and what has failed."""
    url = f"sqlite:///{tmp_path / 'tuner.db'}"
    engine = create_storage(url).engine
    accounts = add_accounts(engine)
    server = start_server(url, "--log-format", "json")
    form = {"name": "viewer", "password": "wrong"}
    same_origin = {"Origin": server.url}
    httpx2.post(f"{server.url}/login", data=form, headers=same_origin)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE tuner_tokens RENAME TO elsewhere")
    token = {"Authorization": f"Bearer {accounts.tokens['viewer']}"}
    assert httpx2.get(f"{server.url}/v1/studies", headers=token).status_code == 503
    server.popen.terminate()
    assert server.popen.wait(200) == 0
    lines = [json.loads(line) for line in server.logged().splitlines()]
    said = [(line["logger"], line["level"]) for line in lines]
    assert said == [
        ("stderr", "INFO"),
        ("tuner.server.login", "WARNING"),
        ("tuner.server.problems", "ERROR"),
    ]
