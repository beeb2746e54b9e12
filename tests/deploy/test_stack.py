"""An operator's day with the real containers; skipped, with the reason, where no engine answers."""

import asyncio
import json
import os
import secrets
import signal
from pathlib import Path
from urllib.parse import urljoin

import pytest

from beam.journey.door import forms_of
from beam.journey.stage import until

from .conftest import (
    DOMAIN,
    LOGIN,
    PASSWORD,
    Stack,
    docker,
    later,
    look_up,
    open_case,
    rows_of,
)

pytestmark = pytest.mark.long


def test_from_secrets_to_the_whole_journey(stack: Stack):
    logs = stack.compose("logs", "--no-log-prefix", "init")
    assert logs.splitlines()[-1] == "=== 初始化完成 ==="
    told = stack.compose("run", "--rm", "--no-deps", "smoke")
    assert "全部通过" in told


def test_secrets_are_written_once(stack: Stack):
    before = {f: f.read_bytes() for f in (stack.folder / "secrets").rglob("*") if f.is_file()}
    assert "0 个新文件" in stack.host("secrets")
    assert {f: f.read_bytes() for f in before} == before
    assert (stack.folder / "secrets").stat().st_mode & 0o777 == 0o700


ASK_THE_REGISTER = """
import asyncio, os, pathlib
from identity_svc.providers import citizens
account = citizens.Account.load(pathlib.Path(os.environ["BEAM_CITIZENS_KEYS"]))
register = citizens.Citizens(os.environ["BEAM_CITIZENS_BASE_URL"], account)
print(asyncio.run(register.verify("张三", "310115199003077411")))
"""
READ_MESSAGES = """
import sys, urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8000/_sim/sms/book?phone=" + sys.argv[1]).read())
"""


async def test_messages_and_the_register_of_citizens_are_reached(stack: Stack):
    door, phone = stack.caller("newcomer"), f"139{secrets.randbelow(10**8):08d}"
    answer = await door.client.post("/v1/phone-codes", json={"phone": phone})
    assert answer.status_code == 201, answer.text
    (sandbox,), (identity,) = stack.containers("sandbox"), stack.containers("identity")
    assert phone in docker("exec", sandbox, "python", "-c", READ_MESSAGES, phone)
    assert "result='match'" in docker("exec", identity, "python", "-c", ASK_THE_REGISTER)
    await door.close()


async def test_an_operator_signs_in_to_his_page_through_the_door(stack: Stack):
    """One whom the command line has added; by forms alone, as a browser without script. The cookies
    are for TLS and this page only."""
    number = f"o{secrets.randbelow(10**8):08d}"
    command = ("staff", "add", number, "--name", "陈值班", "--by", "tester")
    said = stack.compose("exec", "-T", "identity", "python", "-m", "beam", *command)
    added = dict(line.split("=", 1) for line in said.splitlines())
    async with stack.client(follow_redirects=True) as browser:
        page = await browser.get("/ops")
        (form,) = (f for f in forms_of(page.text) if "password" in f.kinds.values())
        names = {kind: name for name, kind in form.kinds.items()}
        login = next(n for n, kind in form.kinds.items() if kind in ("text", "tel"))
        typed = {**form.fields, login: number, names["password"]: added["password"]}
        page = await browser.post(urljoin(str(page.url), form.action), data=typed)
        assert (page.status_code, page.url.path) == (200, "/ops"), page.text
        assert "运行状态" in page.text
        assert "一切正常" in page.text or "需要处理" in page.text
        (cookie,) = (c for c in browser.cookies.jar if c.name == "beam_ops")
        assert (cookie.secure, cookie.path) == (True, "/ops")
        assert cookie.has_nonstandard_attr("HttpOnly")
        # As a citizen the same door says that the page is not for him.
        browser.cookies.clear()
        page = await browser.get("/ops")
        (form,) = (f for f in forms_of(page.text) if "password" in f.kinds.values())
        typed = {**form.fields, login: LOGIN, names["password"]: PASSWORD}
        page = await browser.post(urljoin(str(page.url), form.action), data=typed)
        assert (page.status_code, "运维人员" in page.text) == (403, True), page.text


@pytest.mark.parametrize("program", ["case", "gateway"])
def test_a_program_tells_its_settings_and_no_secret(stack: Stack, program: str):
    run = ("run", "--rm", "--no-deps", "-T", program, "config", program, "--json")
    said = json.loads(stack.compose(*run))
    settings = {one["name"]: one for one in said["settings"]}
    assert said["unread"] == []
    assert settings["BEAM_NATS_PASSWORD"]["value"] == "•••"
    assert settings["BEAM_NATS_PASSWORD"]["origin"] == "/run/secrets/nats"
    if program == "case":
        assert ":•••@postgres:5432/" in settings["BEAM_DATABASE_URL"]["value"]


def test_every_container_is_nobody_and_has_no_rights(stack: Stack):
    for container in stack.compose("ps", "-q").split():
        pid = docker("inspect", "-f", "{{.State.Pid}}", container)
        name = docker("inspect", "-f", "{{.Name}}", container)
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        assert set(status["Uid"].split()) != {"0"}, name
        # The proxy's program carries one file capability: to listen below port 1024.
        allowed = 1 << 10 if "-proxy-" in name else 0
        assert int(status["CapEff"], 16) & ~allowed == 0, name
        assert status["NoNewPrivs"].strip() == "1", name


def test_published_is_the_tls_door_alone(stack: Stack):
    published = docker(
        "ps", "--filter", f"label=com.docker.compose.project={stack.project}",
        "--format", "{{.Ports}}",
    )  # fmt: skip
    shown = {p for line in published.splitlines() for p in line.split(", ") if "->" in p}
    assert shown == {f"127.0.0.1:{stack.port}->{stack.port}/tcp"}


async def test_two_replicas_share_the_work_and_one_may_die(stack: Stack):
    stack.compose("up", "-d", "--no-recreate", "--wait", "--scale", "catalog=2", "catalog")
    first, second = stack.containers("catalog")
    door = stack.caller("app")

    def asked(container: str) -> int:
        ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/metrics')"
        text = docker("exec", container, "python", "-c", f"{ask}.read().decode())")
        counts = [
            line.rpartition(" ")[2]
            for line in text.splitlines()
            if line.startswith("beam_http_requests_total{") and "/v1/items/{code}" in line
        ]
        return int(sum(map(float, counts)))

    async with stack.asked(door, look_up) as answers:
        await until(lambda: later(lambda: answers.good > 200), "no answers")
        await until(
            lambda: later(lambda: asked(first) > 20 and asked(second) > 20),
            "one of two replicas gets nothing to do",
        )
        os.kill(int(docker("inspect", "-f", "{{.State.Pid}}", first)), signal.SIGKILL)
        seen = answers.good
        await until(lambda: later(lambda: answers.good > seen + 200), "answers dried up")
        await stack.healthy("catalog", 2)
    assert answers.bad == []
    stack.compose("up", "-d", "--no-recreate", "--wait", "--scale", "catalog=1", "catalog")
    await door.close()


async def test_a_rolling_restart_of_everything_loses_no_request(stack: Stack):
    door = stack.caller("citizen")
    await door.sign_in(LOGIN, PASSWORD)
    names = ("identity", "catalog", "case", "licence", "payment", "gateway")
    old = {container for name in names for container in stack.containers(name)}
    async with stack.asked(door, open_case) as cases, stack.asked(door, look_up) as looks:
        await until(lambda: later(lambda: cases.good > 20), "no answers")
        await asyncio.to_thread(stack.host, "roll", "all")
        seen = cases.good
        await until(lambda: later(lambda: cases.good > seen + 20), "no answers after it")
    assert cases.bad == []
    assert looks.bad == []
    assert old.isdisjoint(c for name in names for c in stack.containers(name))
    await door.close()


async def test_without_the_broker_work_goes_on_and_nothing_is_lost(stack: Stack):
    door = stack.caller("citizen")
    await door.sign_in(LOGIN, PASSWORD)
    (nats,) = stack.containers("nats")
    docker("network", "disconnect", stack.network("mesh"), nats)
    try:
        answer = await door.call(
            "POST",
            "/v1/cases",
            body={"item_code": "A05", "region": "310115"},
            headers={"idempotency-key": secrets.token_hex(8)},
            status=201,
        )
        case = answer.json()["id"]
        assert (await door.get(f"/v1/cases/{case}"))["state"] == "draft"
    finally:
        docker("network", "connect", "--alias", "nats", stack.network("mesh"), nats)

    async def ready() -> bool:
        return (await door.client.get("/health/ready")).json() == {"status": "ok", "degraded": []}

    await until(ready, "the services do not find the broker again", seconds=90)
    assert "全部通过" in stack.compose("run", "--rm", "--no-deps", "smoke")
    await door.close()


async def test_a_second_up_keeps_the_data_and_what_was_scaled(stack: Stack):
    door = stack.caller("citizen")
    await door.sign_in(LOGIN, PASSWORD)
    body = {"item_code": "A05", "region": "310115"}
    case = (await door.call("POST", "/v1/cases", body=body, status=201)).json()["id"]
    stack.compose("up", "-d", "--no-recreate", "--wait", "--scale", "helpdesk=2", "helpdesk")
    stack.host("up")
    assert len(stack.containers("helpdesk")) == 2
    assert (await door.get(f"/v1/cases/{case}"))["id"] == case
    assert (await door.client.get("/")).headers["strict-transport-security"]
    assert DOMAIN in str(door.client.base_url)
    await door.close()


def sealed(stack: Stack) -> int:
    """How many heads of case-svc are written down outside of the database."""
    (case,) = stack.containers("case")
    return docker("exec", case, "cat", "/volumes/audit/case.jsonl").count("\n")


async def test_backup_change_restore_equal(stack: Stack):
    saved, again = stack.folder / "saved.tar", stack.folder / "again.tar"
    body = {"item_code": "A05", "region": "310115"}
    door = stack.caller("citizen")
    await door.sign_in(LOGIN, PASSWORD)
    kept = (await door.call("POST", "/v1/cases", body=body, status=201)).json()["id"]
    stack.host("backup", str(saved))
    known = sealed(stack)
    gone = (await door.call("POST", "/v1/cases", body=body, status=201)).json()["id"]
    await until(lambda: later(lambda: sealed(stack) > known), "what came later is not sealed")
    with pytest.raises(AssertionError, match="make down"):
        stack.host("restore", str(saved))
    stack.compose("down", "-t", "10")
    stack.host("restore", str(saved))
    stack.host("backup", str(again))
    assert rows_of(again) == rows_of(saved)
    stack.host("up")
    await door.close()
    door = stack.caller("citizen")
    await door.sign_in(LOGIN, PASSWORD)
    await door.call("GET", f"/v1/cases/{kept}", status=200)
    await door.call("GET", f"/v1/cases/{gone}", status=404)
    await door.close()
    assert "全部通过" in stack.compose("run", "--rm", "--no-deps", "smoke")
    # The heads that were written down are newer than what came back: nothing is sealed until
    # somebody says that he restored it, once for all services.
    with pytest.raises(AssertionError, match="数据库来自备份"):
        stack.host("audit-verify")
    assert "case →" in stack.host("audit-accept", "the test put its backup back")
    assert "case →" not in stack.host("audit-accept", "again")
    assert stack.host("audit-verify").count("✓") == 8


def test_a_missing_setting_or_secret_names_itself(stack: Stack):
    env = stack.folder / ".env"
    whole = env.read_text()
    secret = stack.folder / "secrets" / "case.nats"
    kept = secret.read_bytes()
    try:
        env.write_text("\n".join(x for x in whole.splitlines() if not x.startswith("BEAM_DOMAIN=")))
        secret.unlink()
        with pytest.raises(AssertionError, match=r"case\.nats"):
            stack.host("preflight")
        with pytest.raises(AssertionError, match="BEAM_DOMAIN"):
            stack.host("up")
    finally:
        env.write_text(whole)
        secret.write_bytes(kept)
        secret.chmod(0o444)
