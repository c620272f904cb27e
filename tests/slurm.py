"""A Slurm of a test's own: one node, this machine, all in a temporary folder; needs root."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from benchmarks.postgres import free_port
from tests.tuner.conftest import wait_until

_CONFIG = """
ClusterName=tuner
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


def explain_absence() -> str | None:
    """Return why there can be no Slurm here; None if there can."""
    if os.geteuid() != 0:
        return "a Slurm of one's own is started by root"
    programs = ("munged", "slurmctld", "slurmd")
    missing = [name for name in programs if _find(name) is None]
    return f"no {', '.join(missing)}: install slurm-wlm" if missing else None


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin")


class Slurm:
    """A controller and a node with two CPUs; a context manager."""

    def __enter__(self) -> "Slurm":
        # Not pytest's folder: a socket's name may not be long.
        self._folder = folder = Path(tempfile.mkdtemp(prefix="tuner_slurm_"))
        folder.chmod(0o755)
        self._processes: list[subprocess.Popen[bytes]] = []
        host = socket.gethostname().partition(".")[0]
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key, config = folder / "key", folder / "slurm.conf"
        key.write_bytes(os.urandom(64))
        key.chmod(0o600)
        ports = {"controller": free_port(), "node": free_port()}
        config.write_text(_CONFIG.format(host=host, folder=folder, **ports))
        self.environment = {**os.environ, "SLURM_CONF": str(config)}
        files = [f"--{name}-file={folder}/munge.{name}" for name in ("log", "pid", "seed")]
        munge = folder / "munge.socket"
        try:
            self._start(
                "munged",
                "--force",
                "--foreground",
                f"--key-file={key}",
                f"--socket={munge}",
                *files,
            )
            wait_until(munge.exists)
            self._start("slurmctld", "-D", "-f", str(config))
            self._start("slurmd", "-D", "-N", host, "-f", str(config))
            wait_until(lambda: "idle" in self.run("sinfo", "--noheader", is_checked=False))
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, program: str, *options: str) -> None:
        path = _find(program)
        assert path is not None
        with (self._folder / f"{program}.out").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [path, *options],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.environment,
                    start_new_session=True,
                )
            )

    def run(
        self, *command: str, cwd: Path | None = None, is_checked: bool = True, **variables: str
    ) -> str:
        """Return what a command of Slurm's says."""
        environment = {**self.environment, **variables}
        result = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0 or not is_checked, result.stderr
        return result.stdout

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(100)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
