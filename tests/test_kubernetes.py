"""The manifests for Kubernetes: valid, hardened, and the same as what the compose file says."""

import copy
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from tests.conftest import ROOT
from tests.test_compose import OURS
from tests.test_docs import OPTION_VARIABLES
from tuner.cli import app
from tuner.server.gate import PUBLIC_PATHS
from tuner.workers.shutdown import INTERRUPTED_STATUS

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
DOCUMENTS: list[dict[str, Any]] = [
    document
    for name in KUSTOMIZATION["resources"]
    for document in yaml.safe_load_all((FOLDER / name).read_text())
]


def _find_template(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the pod that a Deployment, a StatefulSet, a Job or a CronJob makes."""
    spec = document.get("spec", {})
    template: dict[str, Any] | None = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return template


TEMPLATES = {
    document["metadata"]["name"]: template
    for document in DOCUMENTS
    if (template := _find_template(document)) is not None
}
PODS = {name: template["spec"] for name, template in TEMPLATES.items()}
# The oldest that this is meant for, and the newest that is known.
VERSIONS = ["1.34", kubernetes_validate.latest_version()]


def _container(pod: str) -> dict[str, Any]:
    (container,) = PODS[pod]["containers"]
    return container


def test_kustomization_names_exactly_the_files_there_are() -> None:
    """None is forgotten; the version of the image is this one's."""
    files = {path.name for path in FOLDER.glob("*.yaml")}
    assert files == {"kustomization.yaml", *KUSTOMIZATION["resources"]}
    (image,) = KUSTOMIZATION["images"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (image["name"], image["newTag"]) == ("lambda-tuner", version)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_document_is_valid(version: str) -> None:
    """By Kubernetes' own schemas, where unknown fields are errors."""
    assert len(DOCUMENTS) >= 6
    for document in DOCUMENTS:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_kustomize_builds_what_is_valid(tmp_path: Path, version: str) -> None:
    """With the password that the user makes; every name that is used is there."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl")
    folder = shutil.copytree(FOLDER, tmp_path / "kubernetes")
    (folder / "database-password").write_text("s3cret\n")
    command = [kubectl, "kustomize", str(folder)]
    built = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    documents = list(yaml.safe_load_all(built.stdout))
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    names = {(d["kind"], d["metadata"]["name"]) for d in documents}
    for pod in [found["spec"] for d in documents if (found := _find_template(d)) is not None]:
        secrets = {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        maps = {e["configMapRef"]["name"] for c in pod["containers"] for e in c.get("envFrom", [])}
        assert {("Secret", name) for name in secrets} | {
            ("ConfigMap", name) for name in maps
        } <= names


@pytest.mark.parametrize("name", PODS)
def test_pods_may_do_no_more_than_they_need(name: str) -> None:
    """As the Pod Security Standard "restricted" wants it, and a root file system only to read."""
    pod, container = PODS[name], _container(name)
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod["automountServiceAccountToken"]
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert set(container["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}
    for volume in pod["volumes"]:
        assert volume.get("emptyDir", {"sizeLimit"}) != {}
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_network_lets_nobody_in_who_has_no_business_there() -> None:
    """The database is for ours alone, and what is shown for namespaces that are named."""
    policies = {d["metadata"]["name"]: d["spec"] for d in DOCUMENTS if d["kind"] == "NetworkPolicy"}
    assert policies["nobody"]["podSelector"] == {}
    assert "ingress" not in policies["nobody"]
    (entrance,) = policies["database"]["ingress"]
    (source,) = entrance["from"]
    assert set(source) == {"podSelector"}
    assert {port["port"] for port in entrance["ports"]} == {5432}
    (named,) = source["podSelector"]["matchExpressions"]
    labels = {t["metadata"]["labels"]["app.kubernetes.io/name"] for t in TEMPLATES.values()}
    assert set(named["values"]) == labels - {"database"}
    for pod in ("serve", "worker"):
        (entrance,) = policies[pod]["ingress"]
        assert all(source["namespaceSelector"]["matchLabels"] for source in entrance["from"])
        ports = {port["containerPort"] for port in _container(pod)["ports"]}
        assert {port["port"] for port in entrance["ports"]} == ports


@pytest.mark.parametrize("name", PODS)
def test_no_service_can_set_our_variables(name: str) -> None:
    """Kubernetes would set TUNER_PORT for a Service named tuner."""
    assert PODS[name]["enableServiceLinks"] is False
    services = {d["metadata"]["name"] for d in DOCUMENTS if d["kind"] == "Service"}
    assert services == {"database", "serve"}


@pytest.mark.parametrize("name", OURS)
def test_pods_run_what_compose_runs(name: str) -> None:
    """The same command with the same settings, apart from where database and password are, and
    that logs are for programs.
    """
    container = _container(name)
    assert container["args"] == OURS[name]["command"]
    (generated,) = KUSTOMIZATION["configMapGenerator"]
    settings = dict(literal.split("=", 1) for literal in generated["literals"])
    settings |= {variable["name"]: variable["value"] for variable in container.get("env", [])}
    assert set(settings) <= OPTION_VARIABLES
    theirs = {key: value for key, value in OURS[name]["environment"].items() if value}
    moved = ("TUNER_STORAGE", "TUNER_STORAGE_PASSWORD_FILE", "TUNER_LOG_FORMAT")
    assert set(settings) == set(theirs)
    assert {k: v for k, v in settings.items() if k not in moved} == {
        k: v for k, v in theirs.items() if k not in moved
    }


def test_crew_is_workers_that_end_when_there_is_nothing_to_train() -> None:
    """The pod is the worker's, without completions: the first that ends well is the end."""
    (cron,) = (document for document in DOCUMENTS if document["kind"] == "CronJob")
    job = cron["spec"]["jobTemplate"]["spec"]
    assert cron["spec"]["suspend"]
    assert job["parallelism"] > 1
    assert "completions" not in job
    ignored = [rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"][1:]]
    assert ignored == [[INTERRUPTED_STATUS]]
    crew, worker = copy.deepcopy(PODS["crew"]), PODS["worker"]
    assert crew.pop("restartPolicy") == "Never"  # which such a policy takes alone
    (own,) = crew["containers"]
    assert own.pop("args") == ["worker", "--exit-when-idle"]
    (theirs,) = worker["containers"]
    assert {**crew, "containers": [own]} == {
        **worker,
        "containers": [{key: value for key, value in theirs.items() if key != "args"}],
    }


def test_sample_for_kuberay_gives_the_password_to_the_head_alone() -> None:
    """With Ray's token, as no other cluster is safe, and options that there are."""
    spec = yaml.safe_load((ROOT / "deploy/kuberay/study.yaml").read_text())["spec"]
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert "runtimeEnvYAML" not in spec
    pods = [cluster["headGroupSpec"]["template"]["spec"]]
    pods += [group["template"]["spec"] for group in cluster["workerGroupSpecs"]]
    head, *crews = (pod["containers"][0] for pod in pods)
    assert {variable["name"] for variable in head["env"]} <= OPTION_VARIABLES
    assert len({each["image"] for each in (head, *crews)}) == 1
    assert head["volumeMounts"]
    assert all("env" not in each and "volumeMounts" not in each for each in crews)
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
    command = typer.main.get_command(app)
    command.main(["run", *shlex.split(spec["entrypoint"])[2:], "--help"], standalone_mode=False)


def test_password_is_where_it_is_looked_for_and_not_in_the_repository() -> None:
    """One file, made by the user, is the Secret; every pod mounts it at the path it is told."""
    (secret,) = KUSTOMIZATION["secretGenerator"]
    assert secret == {"name": "database", "files": ["password=database-password"]}
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/deploy/kubernetes/database-password" in ignored
    for name in PODS:
        (volume,) = [v for v in PODS[name]["volumes"] if "secret" in v]
        assert volume["secret"]["secretName"] == secret["name"]
        mounts = {m["name"]: m["mountPath"] for m in _container(name)["volumeMounts"]}
        assert mounts[volume["name"]] == "/run/secrets/database"


def test_probes_ask_what_answers_without_a_login() -> None:
    """Kubernetes has no token."""
    probes = [value for key, value in _container("serve").items() if key.endswith("Probe")]
    assert len(probes) == 3
    assert {probe["httpGet"]["path"] for probe in probes} <= PUBLIC_PATHS
