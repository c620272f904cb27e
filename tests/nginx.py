"""A real nginx in front of a service, as a process of the test."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests import servers
from tests.tuner.conftest import wait_until

# All that nginx writes is in one folder, since only root may write where Debian's does.
_CONFIGURATION = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; {location} }}
}}
"""


@contextlib.contextmanager
def running(folder: Path, location: str) -> Iterator[int]:
    """Run nginx with this `location` block until the end; yields its port."""
    # Debian's is where only root looks for programs.
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        servers.skip_or_fail("nginx", "no nginx is installed")
    assert nginx is not None
    port = servers.free_port()
    file = folder / "nginx.conf"
    file.write_text(_CONFIGURATION.format(folder=folder, port=port, location=location))
    log = folder / "error.log"
    process = subprocess.Popen(
        [nginx, "-p", folder, "-e", log, "-c", file],
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        wait_until(answers)
        yield port
    finally:
        process.terminate()
        process.wait(100)
