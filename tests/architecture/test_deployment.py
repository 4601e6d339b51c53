"""The container files, read as data: no engine runs here, so their promises are checked as text."""

import importlib.util
import itertools
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

OURS = ("api", "migrate", "worker-cpu", "worker-gpu")
SERVICES = (*OURS, "postgres", "valkey", "seaweedfs")
SECRETS = (
    "POSTGRES_PASSWORD",
    "VALKEY_PASSWORD",
    "S3_ACCESS_KEY_ID",
    "S3_SECRET_ACCESS_KEY",
    "DCPI_KEY_SECRET",
)
VARIABLE = re.compile(r"\$\{(\w+)(:\?|:-)?([^}]*)\}")


@pytest.fixture(scope="module")
def compose(root) -> dict[str, Any]:
    return yaml.safe_load((root / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def stages(root) -> dict[str, list[str]]:
    """Dockerfile instructions by stage, continuation lines joined."""
    text = re.sub(r"\\\n", " ", (root / "Dockerfile").read_text())
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        start = re.match(r"FROM \S+ AS (\S+)", line)
        if start:
            current = found.setdefault(start[1], [])
        elif line and not line.startswith("#"):
            current.append(line.strip())
    return found


def settings_names() -> set[str]:
    from app.settings import Settings

    return {f"DCPI_{name}".upper() for name in Settings.model_fields}


def test_every_service_is_there(compose):
    assert set(compose["services"]) == set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_confined(name, compose):
    service = compose["services"][name]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    assert not service.get("privileged")
    assert not service.get("cap_add")
    assert "docker.sock" not in str(service)


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "migrate"])
def test_service_has_a_health_check(name, compose):
    health = compose["services"][name]["healthcheck"]
    assert health["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries"} <= set(health)


@pytest.mark.parametrize("name", ["api", "worker-cpu", "worker-gpu"])
def test_service_waits_for_what_it_needs(name, compose):
    waits = {
        key: value["condition"] for key, value in compose["services"][name]["depends_on"].items()
    }
    assert waits == {
        "migrate": "service_completed_successfully",
        "postgres": "service_healthy",
        "valkey": "service_healthy",
        "seaweedfs": "service_healthy",
    }


def test_only_the_api_is_reachable(compose):
    with_ports = [name for name, service in compose["services"].items() if "ports" in service]
    assert with_ports == ["api"]
    default = VARIABLE.match(compose["services"]["api"]["ports"][0])
    assert default is not None
    assert default[3] == "127.0.0.1:8000"


def test_only_the_api_has_a_way_out(compose):
    services, networks = compose["services"], compose["networks"]
    beyond = [name for name, service in services.items() if service["networks"] != ["inside"]]
    assert (beyond, networks["inside"]["internal"]) == (["api"], True)
    assert services["api"]["networks"] == ["inside", "outside"]


def test_the_gpu_is_reserved_by_the_gpu_profile_only(compose):
    services = compose["services"]
    assert services["worker-gpu"]["profiles"] == ["gpu"]
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == [["gpu"]] or device["capabilities"] == ["gpu"]
    assert [name for name in SERVICES if "nvidia" in str(services[name])] == ["worker-gpu"]


def test_data_lives_in_named_volumes(compose):
    mounted = {
        volume.partition(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", ())
    }
    folders = {place for place in mounted if place.startswith(("$", "."))}
    assert folders == {"${DCPI_DATA"}, "what users put there themselves"
    assert mounted - folders == set(compose["volumes"])


def test_secrets_have_no_default(root):
    text = (root / "docker-compose.yml").read_text()
    uses = VARIABLE.findall(text)
    by_name = {name: operator for name, operator, _ in uses}
    assert set(SECRETS) <= set(by_name)
    for name, operator, _ in uses:
        secret = bool(re.search("PASSWORD|SECRET|KEY|TOKEN|PEPPER", name))
        assert operator == (":?" if secret else ":-"), name


def test_the_example_names_every_variable_and_holds_no_secret(root):
    lines = (root / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    used = {name for name, _, _ in VARIABLE.findall((root / "docker-compose.yml").read_text())}
    assert set(example) == used
    required = re.findall(r"\$\{(\w+):\?", (root / "docker-compose.yml").read_text())
    assert {name: example[name] for name in required} == dict.fromkeys(required, "")


def test_environment_names_are_real_settings(compose, stages):
    known = settings_names()
    for name in OURS:
        given = set(compose["services"][name].get("environment", ()))
        assert {key for key in given if key.startswith("DCPI_")} <= known, name
    in_images = set(re.findall(r"\bDCPI_[A-Z_]+", str(stages)))
    assert in_images <= known


def queues_of(name: str, compose: dict[str, Any], stages: dict[str, list[str]]) -> set[str]:
    """Queues that a worker of the compose file serves."""
    service = compose["services"][name]
    (words,) = [line for line in stages[service["build"]["target"]] if line.startswith("CMD [")]
    command = service.get("command") or json.loads(words[4:])
    return set(command[command.index("--queues") + 1].split(","))


def test_by_default_a_worker_serves_the_queue_of_new_jobs(compose, stages):
    services = compose["services"]
    for name in OURS:
        assert services[name]["environment"]["DCPI_QUEUE"] == "${DCPI_QUEUE:-cpu}", name
    default = [name for name in OURS if "worker" in name and "profiles" not in services[name]]
    served = set().union(*(queues_of(name, compose, stages) for name in default))
    assert "cpu" in served
    assert "gpu" in queues_of("worker-gpu", compose, stages)


def test_every_setting_can_be_given_without_an_edit(compose):
    for name in OURS:
        assert compose["services"][name]["env_file"] == [{"path": "dcpi.env", "required": False}]


@pytest.mark.parametrize("name", ["worker-cpu", "worker-gpu"])
def test_workers_find_published_datasets_in_a_folder_of_the_host(name, compose):
    service = compose["services"][name]
    root = service["environment"]["DCPI_DATA_ROOT"]
    assert f"${{DCPI_DATA:-./data}}:{root}" in service["volumes"]


def test_uploads_are_spooled_to_a_volume(compose, stages):
    (line,) = [line for line in stages["api"] if line.startswith("ENV ")]
    place = dict(word.split("=", 1) for word in line.split()[1:])["TMPDIR"]
    api = compose["services"]["api"]
    assert place in [volume.partition(":")[2] for volume in api["volumes"]]
    assert f"VOLUME {place}" in stages["base"]
    assert "TMPDIR" not in api["environment"]


def commands(compose: dict[str, Any], stages: dict[str, list[str]]) -> list[list[str]]:
    """What our containers run: commands and health checks of both files."""
    found = []
    for name in OURS:
        service = compose["services"][name]
        found.append(service.get("command"))
        found.append(service.get("healthcheck", {}).get("test", [])[1:])
    for lines in stages.values():
        found += [json.loads(line[4:]) for line in lines if line.startswith("CMD [")]
    return [words.split() if isinstance(words, str) else words for words in found if words]


def test_commands_exist(compose, stages):
    seen = commands(compose, stages)
    assert len(seen) >= 6
    for words in seen:
        program, *rest = words[0].split() + words[1:]
        if program == "python" and rest[0] == "-m":
            assert importlib.util.find_spec(rest[1]), words
        if program != "python":
            assert shutil.which(program, path=str(Path(sys.executable).parent)), words
        for option, value in itertools.pairwise(rest):
            if option in ("--app", "-A"):
                assert importlib.util.find_spec(value), words
        for word in rest:
            target = re.fullmatch(r"([\w.]+):(\w+)", word)
            if target and program == "uvicorn":
                module = importlib.import_module(target[1])
                assert hasattr(module, target[2]), words


def test_health_checks_ask_for_real_routes(compose, stages, tmp_path):
    from app.main import create_app
    from app.settings import Settings

    paths = set(create_app(Settings(home=tmp_path)).openapi()["paths"])
    asked = set(re.findall(r"127\.0\.0\.1:8000(/\w+)", str(compose) + str(stages)))
    assert asked <= paths
    assert asked == {"/healthz"}, "a container is not replaced because another one is away"


def test_images_run_as_nobody_in_particular(stages):
    final = ("api", "worker-cpu", "worker-cuda", "seaweedfs")
    for name in final:
        users = [line for line in stages[name] if line.startswith("USER ")]
        assert users == ["USER 10001:10001"], name


def test_the_storage_reports_to_nobody(stages):
    (command,) = [line for line in stages["seaweedfs"] if line.startswith("CMD [")]
    assert "-master.telemetry=false" in json.loads(command[4:])


def test_an_image_is_built_once_and_what_is_ours_is_never_pulled(compose):
    services = compose["services"].values()
    built = [service["image"] for service in services if "build" in service]
    assert len(set(built)) == len(built)
    assert "dcpi-api:0.1.0" in built
    for service in services:
        if "build" not in service and service["image"] in built:
            assert service["pull_policy"] == "never"
        elif "build" not in service:
            assert not service["image"].startswith("dcpi-"), "nobody builds it"


def test_an_index_of_torch_need_not_carry_what_torch_needs(stages):
    (install,) = [line for line in stages["build-worker-cpu"] if "TORCH_INDEX_URL:+" in line]
    first, second = (re.split(r"\s+", step.strip()) for step in install.split("&&"))
    assert "--no-deps" in first
    assert second == ["pip", "install", "-c", "constraints.txt", "torch", "torchvision"]


def test_base_images_are_pinned(root, compose):
    text = (root / "Dockerfile").read_text()
    (pinned,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE)
    images = [pinned, *(s["image"] for s in compose["services"].values() if "build" not in s)]
    for image in images:
        assert re.search(r":\d+\.\d+(\.\d+)?[\w.-]*$", image), image


def test_images_hold_no_secrets(root):
    text = (root / "Dockerfile").read_text()
    assert not re.search(r"(?i)^(ARG|ENV).*(password|secret|token|api_key)", text, re.MULTILINE)
    ignored = (root / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*", "everything that is not named stays out of the build"
    assert not any(".env" in line for line in ignored if line.startswith("!"))


def test_the_api_image_has_no_torch(stages):
    text = "\n".join(stages["build-api"])
    assert "pip install --no-deps" in text
    assert "'torch' not in sys.modules" in text


def test_constraints_cover_every_requirement(root):
    pins = {
        re.split("==", line)[0].lower().replace("_", "-")
        for line in (root / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *itertools.chain(*project["optional-dependencies"].values()),
    ]
    names = {re.split(r"[\[><=]", line)[0].lower().replace("_", "-") for line in wanted}
    assert names <= pins
    assert not [line for line in pins if "+" in line or "@" in line]
