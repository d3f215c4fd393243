"""ops/chart: rendered by Helm's library, held against Kubernetes' own schemas, and against what pods must be."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import flyball
from flyball.serve.settings import ServeSettings

from .helm import NAME, NAMESPACE, rendered

CHART = Path(__file__).parents[2] / "ops" / "chart" / "flyball"
KUBERNETES = "1.37"
GROUPS = {"v1", "apps/v1", "batch/v1", "policy/v1", "autoscaling/v2", "networking.k8s.io/v1"}
DIGEST = "sha256:" + "5" * 64
POSTGRES = {"to": [{"podSelector": {"matchLabels": {"app": "postgres"}}}], "ports": [{"port": 5432}]}

Document = dict[str, Any]

VARIATIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "ingress": {"ingress": {"enabled": True, "host": "llm.example", "className": "nginx", "tlsSecret": "tls"}},
    "nothing persistent": {"replicas": {"state": {"persistent": False}}},
    "autoscaling": {"autoscaling": {"enabled": True}},
    "autoscaling by the queue": {"autoscaling": {"enabled": True, "queueMetric": "flyball:queue:share"}},
    "secrets": {"apiKey": {"secret": "mine"}, "store": {"secret": "database"}, "responseCache": {"secret": "redis"}},
    "models": {"models": {"enabled": True, "storageClass": "fast"}, "replicas": {"models": ["chat=/models/a.gguf"]}},
    "models of a claim": {"models": {"enabled": True, "existingClaim": "shared"}},
    "one model to bring": {"models": {"enabled": True, "pull": ["org/one:Q8_0"]}},
    "models to bring": {"models": {"enabled": True, "pull": ["org/one", "hf.co/org/two:Q4_K_M", "org/three"]}},
    "no policies": {"networkPolicy": {"enabled": False}},
    "services": {"networkPolicy": {"services": [POSTGRES], "clients": [{"podSelector": {}}]}},
    "monitoring": {"networkPolicy": {"monitoring": [{"podSelector": {}}], "clients": [{"podSelector": {}}]}},
    "traces": {"traces": {"endpoint": "http://collector:4318"}},
    "a digest": {"image": {"digest": DIGEST, "pullSecrets": ["registry"]}},
    "settings": {"settings": {"serve.waiting_tokens": 1048576, "serve.adapters": "off"}, "drainSeconds": 300},
    "places": {
        "replicas": {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "llm", "operator": "Exists"}]},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "hosts": ["balancer.example"],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def charts() -> dict[str, dict[str, Any]]:
    """Every variation, rendered."""
    return dict(zip(VARIATIONS, rendered(*((CHART, values) for values in VARIATIONS.values())), strict=True))


def every(charts: dict[str, dict[str, Any]], *kinds: str) -> Iterator[tuple[str, Document]]:
    for variation, chart in charts.items():
        for document in chart["documents"]:
            if not kinds or document["kind"] in kinds:
                yield f"{variation}: {document['kind']} {document['metadata']['name']}", document


def one(chart: dict[str, Any], kind: str, part: str) -> Document:
    label = "app.kubernetes.io/component"
    found = [each for each in chart["documents"] if each["kind"] == kind and each["metadata"]["labels"][label] == part]
    assert len(found) == 1, (kind, part)
    document: Document = found[0]
    return document


def pods(charts: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Document]]:
    for name, document in every(charts, "Deployment", "StatefulSet", "Job"):
        yield name, document["spec"]["template"]["spec"]


def containers(charts: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Document]]:
    for name, pod in pods(charts):
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            yield f"{name} {container['name']}", container


def environment(document: Document) -> dict[str, Document]:
    (container,) = document["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each for each in container["env"]}


def faults(chart: dict[str, Any]) -> list[str]:
    """What Helm and Kubernetes find wrong with a chart, and what Kubernetes does not know."""
    if "error" in chart:
        return [chart["error"]]
    found = list(chart["lint"])
    for document in chart["documents"]:
        if document["apiVersion"] not in GROUPS:
            found.append(f"{document['apiVersion']} {document['kind']} is none of Kubernetes' own")
            continue
        try:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            found.append(f"{document['kind']} {document['metadata']['name']}: {error}")
    return found


# --- what is valid ----------------------------------------------------------------------------------------------------


def test_helm_and_kubernetes_take_every_variation(charts: dict[str, dict[str, Any]]) -> None:
    assert {name: faults(chart) for name, chart in charts.items()} == {name: [] for name in VARIATIONS}
    assert {document["kind"] for _, document in every(charts)} == {
        "Deployment", "StatefulSet", "Service", "Ingress", "PersistentVolumeClaim", "HorizontalPodAutoscaler",
        "PodDisruptionBudget", "NetworkPolicy", "Job",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "before", "after", "fault"),
    [
        ("edge.yaml", "  replicas: ", "  replicaas: ", "replicaas"),
        ("edge.yaml", "kind: Deployment", "kind: Deploymint", "Deploymint"),
        ("edge.yaml", "apiVersion: apps/v1", "apiVersion: apps.example.com/v1", "none of Kubernetes' own"),
        ("replicas.yaml", "          workingDir: /state", "          workdir: /state", "workdir"),
        ("replicas.yaml", "minReadySeconds: 5", "minReadySeconds: soon", "soon"),
        ("_helpers.tpl", "readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true", "readOnlyRootFileSystem"),
        ("network.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: Egress", "Egress"),
        ("replicas.yaml", "kind: StatefulSet", "kind: [StatefulSet", "while parsing"),
        ("edge.yaml", "{{ .Values.edge.count }}", "{{ .Values.edge.number.of }}", "nil pointer"),
    ],
)
def test_a_chart_with_a_mistake_fails(tmp_path: Path, file: str, before: str, after: str, fault: str) -> None:
    chart = shutil.copytree(CHART, tmp_path / "flyball")
    path = chart / "templates" / file
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))
    (found,) = rendered((chart, {}))
    assert any(fault in each for each in faults(found)), found


def test_the_operators_kind_is_off_and_none_of_kubernetes() -> None:
    (chart,) = rendered((CHART, {"serviceMonitor": {"enabled": True}}))
    assert faults(chart) == ["monitoring.coreos.com/v1 ServiceMonitor is none of Kubernetes' own"] * 2
    monitors = [each for each in chart["documents"] if each["kind"] == "ServiceMonitor"]
    jobs = [each["spec"]["endpoints"][0]["relabelings"][0]["replacement"] for each in monitors]
    assert sorted(jobs) == ["flyball", "flyball-edge"]  # as the alert FlyballDown has them
    for monitor in monitors:
        part = monitor["metadata"]["labels"]["app.kubernetes.io/component"]
        service = one(chart, "Service", part)
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"replicas": {"count": "two"}}, "/replicas/count"),
        ({"replicas": {"count": 0}}, "/replicas/count"),
        (
            {"replicas": {"resources": {"limits": {"cpu": "1"}}}, "edge": {"resources": None}},
            "missing property 'resources'",
        ),
        ({"replicas": {"resources": {"limits": {"memory": "lots"}}}}, "/replicas/resources/limits/memory"),
        ({"replica": {"count": 3}}, "replica"),
        ({"image": {"tag": "latest"}}, "/image/tag"),
        ({"image": {"digest": "sha256:12"}}, "/image/digest"),
        ({"apiKey": {"secret": ""}}, "/apiKey/secret"),
        ({"store": {"secret": "a b"}}, "/store/secret"),
        ({"ingress": {"enabled": True}}, "/ingress/host"),
        ({"ingress": {"host": 'a"\ninjected: true'}}, "/ingress/host"),
        ({"settings": {"serve.store": "postgresql://user:password@host/x"}}, "propertyName 'serve.store'"),
        ({"settings": {"A B": "x"}}, "propertyName 'A B'"),
        ({"traces": {"endpoint": "collector"}}, "/traces/endpoint"),
        ({"drainSeconds": -1}, "/drainSeconds"),
        ({"models": {"pull": ["org/name --to=/state"]}}, "/models/pull"),
        ({"edge": {"verify": 2}}, "/edge/verify"),
        ({"service": {"type": "Public"}}, "/service/type"),
        ({"networkPolicy": {"services": [{"ports": [{"port": 443}]}]}}, "/networkPolicy/services"),
        ({"networkPolicy": {"services": [{"to": [], "ports": [{"port": 443}]}]}}, "/networkPolicy/services"),
    ],
)
def test_values_of_another_kind_are_refused(values: dict[str, Any], where: str) -> None:
    (chart,) = rendered((CHART, values))
    assert where in chart.get("error", ""), chart


def test_the_schema_knows_every_value() -> None:
    """A value without a type could be anything."""
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())

    def unknown(values: Any, rules: Any, path: str = "") -> Iterator[str]:
        rules = schema["$defs"][rules["$ref"].rpartition("/")[2]] if "$ref" in rules else rules
        if "properties" in rules:
            assert rules["additionalProperties"] is False, path
            assert values.keys() == rules["properties"].keys(), path
            for key, value in values.items():
                yield from unknown(value, rules["properties"][key], f"{path}/{key}")
        elif not rules.keys() & {"type", "enum"}:
            yield path

    assert list(unknown(yaml.safe_load((CHART / "values.yaml").read_text()), schema)) == []


# --- what pods are ----------------------------------------------------------------------------------------------------


def test_pods_are_nobody_and_can_write_nowhere_else(charts: dict[str, dict[str, Any]]) -> None:
    for name, pod in pods(charts):
        about = pod["securityContext"]
        assert (about["runAsNonRoot"], about["runAsUser"] > 0, about["runAsGroup"] > 0) == (True, True, True), name
        assert about["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"}, name
        claims = {each["metadata"]["name"]: each for _, each in every(charts, "StatefulSet")}
        assert claims
        for volume in pod["volumes"]:
            assert volume.keys() - {"name"} <= {"emptyDir", "persistentVolumeClaim"}, name
            assert volume.get("emptyDir", {"sizeLimit": ""}).keys() == {"sizeLimit"}, name
    for name, container in containers(charts):
        about = container["securityContext"]
        assert about == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        mounts = {each["mountPath"]: each.get("readOnly", False) for each in container["volumeMounts"]}
        assert mounts.keys() <= {"/state", "/tmp", "/models"}, name
        assert mounts.get("/models", True) is not container["name"].startswith("pull"), name


def test_containers_have_an_image_limits_and_probes(charts: dict[str, dict[str, Any]]) -> None:
    for name, container in containers(charts):
        image = container["image"]
        assert re.fullmatch(r"[a-z0-9./-]+(:\d[\w.-]*|@sha256:[0-9a-f]{64})", image), (name, image)
        for amounts in ("requests", "limits"):
            assert container["resources"][amounts].keys() == {"cpu", "memory"}, name
        if not container["name"].startswith("pull"):
            assert container["livenessProbe"]["httpGet"] == {"path": "/health", "port": "http"}, name
            assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http"}, name
            assert [port["name"] for port in container["ports"]] == ["http"], name
    assert one(charts["a digest"], "Deployment", "edge")["spec"]["template"]["spec"]["imagePullSecrets"] == [
        {"name": "registry"}
    ]
    assert {c["image"] for _, c in containers({"": charts["a digest"]})} == {f"ghcr.io/flyball-llm/flyball@{DIGEST}"}
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == about["version"] == flyball.__version__


def test_pods_end_after_their_answers(charts: dict[str, dict[str, Any]]) -> None:
    for name, document in every(charts, "Deployment", "StatefulSet"):
        drain = float(environment(document)["FLYBALL_SERVE_DRAIN_SECONDS"]["value"])
        pod = document["spec"]["template"]["spec"]
        leaving = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] > drain + leaving, name
        assert drain == (300 if name.startswith("settings") else ServeSettings().drain_seconds)


def test_a_pod_that_is_replaced_has_a_successor_first(charts: dict[str, dict[str, Any]]) -> None:
    for name, document in every(charts, "Deployment"):
        assert document["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}, name
    for name, chart in charts.items():
        for kind, part in (("Deployment", "edge"), ("StatefulSet", "replica")):
            document, budget = one(chart, kind, part), one(chart, "PodDisruptionBudget", part)
            labels = document["spec"]["template"]["metadata"]["labels"]
            assert budget["spec"]["maxUnavailable"] == 1, name
            for selector in (
                budget["spec"]["selector"], document["spec"]["selector"],
                *(c["labelSelector"] for c in document["spec"]["template"]["spec"]["topologySpreadConstraints"]),
            ):  # fmt: skip
                assert selector["matchLabels"].items() <= labels.items(), name
            assert one(chart, "Service", part)["spec"]["selector"].items() <= labels.items(), name


# --- what they are told, and whom they reach --------------------------------------------------------------------------


def test_settings_are_variables_that_flyball_knows(
    charts: dict[str, dict[str, Any]], known: Callable[[str], bool]
) -> None:
    for name, container in containers(charts):
        names = [each["name"] for each in container["env"]]
        assert len(names) == len(set(names)), name  # Kubernetes refuses, or takes the last
        assert [each for each in names if each.startswith("FLYBALL_") and not known(each)] == [], name
    told = environment(one(charts["settings"], "StatefulSet", "replica"))
    assert told["FLYBALL_SERVE_WAITING_TOKENS"]["value"] == "1048576"  # not 1.048576e+06
    told = environment(one(charts["traces"], "StatefulSet", "replica"))
    assert told["OTEL_EXPORTER_OTLP_ENDPOINT"]["value"] == "http://collector:4318"
    # A service named flyball-edge would make FLYBALL_EDGE_PORT=tcp://..., which is a setting.
    assert all(pod["enableServiceLinks"] is False for _, pod in pods(charts))


@pytest.fixture
def known() -> Callable[[str], bool]:
    from flyball.config.configuration import resolve

    names = {f"FLYBALL_{key.upper().replace('.', '_')}" for key in resolve(None, {})}
    return (names | {"FLYBALL_API_KEY"}).__contains__


def test_secrets_are_named_never_written(charts: dict[str, dict[str, Any]]) -> None:
    assert "Secret" not in {document["kind"] for _, document in every(charts)}
    told = environment(one(charts["secrets"], "StatefulSet", "replica"))
    for variable, secret, key in (
        ("FLYBALL_API_KEY", "mine", "api-key"),
        ("FLYBALL_SERVE_STORE", "database", "url"),
        ("FLYBALL_SERVE_RESPONSE_CACHE", "redis", "url"),
    ):
        assert told[variable]["valueFrom"]["secretKeyRef"] == {"name": secret, "key": key}
    assert "FLYBALL_SERVE_STORE" not in environment(one(charts["secrets"], "Deployment", "edge"))
    for name, document in every(charts, "Deployment", "StatefulSet"):
        assert "secretKeyRef" in environment(document)["FLYBALL_API_KEY"]["valueFrom"], name


def test_the_edge_finds_the_replicas_and_is_found(charts: dict[str, dict[str, Any]]) -> None:
    for name, chart in charts.items():
        service = one(chart, "Service", "replica")
        assert service["spec"]["clusterIP"] == "None", name
        edge, replica = one(chart, "Deployment", "edge"), one(chart, "StatefulSet", "replica")
        assert replica["spec"]["serviceName"] == service["metadata"]["name"], name
        args = edge["spec"]["template"]["spec"]["containers"][0]["args"]
        port = service["spec"]["ports"][0]["port"]
        assert f"--replicas-dns={service['metadata']['name']}.{NAMESPACE}.svc:{port}" in args, name
        assert replica["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] == port, name
        hosts = environment(edge)["FLYBALL_SERVE_ALLOWED_HOSTS"]["value"].split()
        assert f"{NAME}-flyball-edge" in hosts, name
        assert ("llm.example" in hosts) == (name == "ingress")
        assert ("balancer.example" in hosts) == (name == "places")
    backend = one(charts["ingress"], "Ingress", "edge")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == one(charts["ingress"], "Service", "edge")["metadata"]["name"]


def test_replicas_reach_nothing_that_is_not_named(charts: dict[str, dict[str, Any]]) -> None:
    dns = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    for name, document in every(charts, "NetworkPolicy"):
        spec = document["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"], name
        assert spec["egress"][0]["ports"] == dns, name
        assert spec["egress"][0]["to"], name
    for name, chart in charts.items():
        if name == "no policies":
            continue
        policy, edge = (one(chart, "NetworkPolicy", part)["spec"] for part in ("replica", "edge"))
        assert policy["egress"][1:] == ([POSTGRES] if name == "services" else []), name
        (rule,) = policy["ingress"]
        labels = one(chart, "Deployment", "edge")["spec"]["template"]["metadata"]["labels"]
        assert rule["from"][0]["podSelector"]["matchLabels"].items() <= labels.items(), name
        assert rule["from"][1:] == ([{"podSelector": {}}] if name == "monitoring" else []), name
        labels = one(chart, "StatefulSet", "replica")["spec"]["template"]["metadata"]["labels"]
        (target,) = edge["egress"][1]["to"]
        assert len(edge["egress"]) == 2, name
        assert target["podSelector"]["matchLabels"].items() <= labels.items(), name
        assert ("from" in edge["ingress"][0]) == (name in ("services", "monitoring")), name
    pull = one(charts["one model to bring"], "NetworkPolicy", "pull")["spec"]
    assert "ingress" not in pull
    labels = one(charts["one model to bring"], "Job", "pull")["spec"]["template"]["metadata"]["labels"]
    assert pull["podSelector"]["matchLabels"].items() <= labels.items()
    assert not [each for _, each in every({"": charts["no policies"]}, "NetworkPolicy")]


def test_what_lasts_is_on_claims(charts: dict[str, dict[str, Any]]) -> None:
    spec = one(charts["defaults"], "StatefulSet", "replica")["spec"]
    assert [each["metadata"]["name"] for each in spec["volumeClaimTemplates"]] == ["state"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert "volumeClaimTemplates" not in one(charts["nothing persistent"], "StatefulSet", "replica")["spec"]
    for name, claim in (("models", f"{NAME}-flyball-models"), ("models of a claim", "shared")):
        volumes = one(charts[name], "StatefulSet", "replica")["spec"]["template"]["spec"]["volumes"]
        claims = [each["persistentVolumeClaim"] for each in volumes if each["name"] == "models"]
        assert claims == [{"claimName": claim, "readOnly": True}]
    made = [each["metadata"] for _, each in every(charts, "PersistentVolumeClaim")]
    assert {each["name"] for each in made} == {f"{NAME}-flyball-models"}
    assert all(each["annotations"]["helm.sh/resource-policy"] == "keep" for each in made)
    job = one(charts["models to bring"], "Job", "pull")["spec"]["template"]["spec"]
    brought = [each["args"][-1] for each in (*job["initContainers"], *job["containers"])]
    assert brought == VARIATIONS["models to bring"]["models"]["pull"]


def test_the_scaler_has_the_count_alone(charts: dict[str, dict[str, Any]]) -> None:
    for name, chart in charts.items():
        replicas = one(chart, "StatefulSet", "replica")
        assert ("replicas" in replicas["spec"]) != name.startswith("autoscaling"), name
        if name.startswith("autoscaling"):
            spec = one(chart, "HorizontalPodAutoscaler", "replica")["spec"]
            assert spec["scaleTargetRef"]["name"] == replicas["metadata"]["name"]
            metrics = [each.get("pods", {}).get("metric", {}).get("name") for each in spec["metrics"]]
            assert metrics == [None, "flyball:queue:share"][: 1 + name.endswith("queue")]
