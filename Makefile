# 一网通办 · 一梁四柱 (One Beam). `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/sh

# The first Python from 3.11 on that the machine has; or say PYTHON=/path/to/python3.11.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	command -v $$p >/dev/null 2>&1 && { echo $$p; break; }; done)
PY := .venv/bin/python

.PHONY: help
help: ## 显示这份说明 / show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: ## 按锁定的版本安装到 .venv / install what requirements.lock names into .venv
	@test -n "$(PYTHON)" || { echo "✗ 未找到 Python 3.11+ / no Python 3.11+ found" >&2; exit 2; }
	@$(PYTHON) cli/install.py

.PHONY: run
run: install ## 启动全部,Ctrl-C 停止 / start everything (BEAM_PORT_BASE, BEAM_DATA, ARGS="--lang en")
	@exec $(PY) -m beam run $(ARGS)

.PHONY: stop
stop: install ## 停止正在运行的 / stop what runs on this data folder
	@$(PY) -m beam stop

.PHONY: demo
demo: install ## 走完一件真事 / one real matter from end to end (ARGS="--speed 0 --json FILE")
	@exec $(PY) -m beam demo $(ARGS)

# Each process of the tests would rewrite the assertions of all files again and again.
test test-quick: export PYTHONDONTWRITEBYTECODE :=

.PHONY: test
test: install ## 全部测试 / all tests, from nothing (ARGS="tests/kit -x")
	@$(PY) -m pytest -m "not long" -n 3 --dist loadfile $(ARGS)

.PHONY: test-long
test-long: install ## 几分钟以上的测试 / the suites that take minutes: crash sweeps, containers, backup
	@$(PY) -m pytest -m long $(ARGS)

.PHONY: test-deploy
test-deploy: install ## 容器部署的全部测试(需要 Docker) / all of tests/deploy with real containers
	@$(PY) -m pytest -m "long or not long" tests/deploy -v -rs --durations=15 $(ARGS)

.PHONY: test-quick
test-quick: install ## 不含慢测试 / without the slow ones
	@$(PY) -m pytest -m "not slow and not long" -n 3 --dist loadfile $(ARGS)

.PHONY: check
check: install ## 格式、类型、分层、房屋规则 / ruff, mypy --strict, import-linter, house tests
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports
	@$(PY) -m pytest -q tests/house tests/audit

OURS = contracts kit gateway sandbox cli deploy $(wildcard *-svc)
SEMGREP = .audit/bin/semgrep scan --metrics=off --disable-version-check

.PHONY: audit
audit: install ## 安全检查 / security checks: bandit, our own rules, secrets, floors, image
	@test -n "$(PYTHON)" && $(PYTHON) cli/install.py audit
	@.audit/bin/bandit -q -c tests/audit/bandit.yaml -r $(OURS)
	@PATH=".audit/bin:$$PATH" $(SEMGREP) -q --test tests/audit/rules >/dev/null 2>&1 || \
		PATH=".audit/bin:$$PATH" $(SEMGREP) --test tests/audit/rules
	@PATH=".audit/bin:$$PATH" $(SEMGREP) -q --error --config tests/audit/rules $(OURS)
	@$(PY) -m pytest -q tests/audit
	@$(MAKE) -s lint-compose

.PHONY: fuzz
fuzz: install ## 接口模糊测试 / schemathesis as every caller (BEAM_FUZZ_SECONDS=60 each, FILE=fuzz.json)
	@BEAM_FUZZ_REPORT=$(abspath $(or $(FILE),fuzz.json)) $(PY) -m pytest -m long -rP tests/flows/test_fuzz.py $(ARGS)

.PHONY: sbom
sbom: install ## 软件物料清单 / what One Beam consists of, as CycloneDX JSON (FILE=sbom.json)
	@$(PY) deploy/sbom.py $(or $(FILE),sbom.json)

.PHONY: contracts
contracts: install ## 生成 OpenAPI、AsyncAPI、JSON Schema / write the published contracts
	@$(PY) -m beam contracts $(ARGS)

.PHONY: bench
bench: install ## 性能对照 / the benchmark against its peers
	@$(PY) -m bench $(ARGS)

.PHONY: faults
faults: install ## 故障测试 / break things, check the books (ARGS="--quick", "--planted")
	@$(PY) -m beam faults $(ARGS)

.PHONY: doctor
doctor: install ## 检查本机条件 / check whether this machine can run it
	@$(PY) -m beam doctor $(ARGS)

.PHONY: migrate
migrate: install ## 只建库并迁移 / create and migrate the databases, nothing else
	@$(PY) -m beam migrate $(ARGS)

.PHONY: lock
lock: ## 重新锁定依赖(需要 uv) / resolve the dependencies anew (needs uv)
	@command -v uv >/dev/null || { echo "✗ 需要 uv / uv is needed (pip install uv)" >&2; exit 2; }
	@uv pip compile --universal --python-version 3.11 --all-extras --generate-hashes --no-header \
		--no-annotate --no-emit-index-url pyproject.toml -o requirements.lock
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url -c requirements.lock pyproject.toml -o requirements-runtime.lock
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--no-emit-index-url --group audit -o requirements-audit.lock

# ---- containers: deploy/compose.yaml, deploy/RUNBOOK.md

HOST = $(PYTHON) deploy/host.py
COMPOSE = $(HOST) compose

.PHONY: secrets
secrets: ## 容器部署:生成 deploy/.env 与密钥,只补不改 / settings and secrets, once
	@$(HOST) secrets

.PHONY: preflight
preflight: ## 容器部署:启动前检查 / check host, settings, secrets
	@$(HOST) preflight

.PHONY: up
up: ## 容器部署:启动并等待就绪 / start, wait until healthy
	@$(HOST) up

.PHONY: down
down: ## 容器部署:停止,保留数据 / stop, keep the data
	@$(COMPOSE) --profile '*' down

.PHONY: smoke
smoke: ## 容器部署:从大门走一遍 / the journey at the public address
	@$(COMPOSE) --profile ops run --rm --no-deps smoke

.PHONY: logs
logs: ## 容器部署:日志 / logs; on a terminal they go on (ARGS="case --since 10m")
	@test -t 1 && follow=-f || follow=; $(COMPOSE) logs --tail 200 $$follow $(ARGS)

.PHONY: config
config: ## 容器部署:一个程序的全部设置 / the settings of a program as they stand (SERVICE=case)
	@$(COMPOSE) run --rm --no-deps -T $(SERVICE) config $(SERVICE) $(ARGS)

.PHONY: roll
roll: ## 容器部署:逐个更换,不丢请求 / replace replicas, no request lost (SERVICE=case|all)
	@$(HOST) roll $(SERVICE)

.PHONY: reload-broker
reload-broker: ## 容器部署:NATS 重读账号 / let the broker read its accounts again
	@$(COMPOSE) up --no-deps prepare && $(HOST) reload-broker

.PHONY: audit-verify
audit-verify: ## 容器部署:核对全部封存记录 / check the sealed records of every service
	@$(if $(EMBEDDED),$(PY) -m beam audit verify,$(HOST) audit-verify)

.PHONY: audit-accept
audit-accept: ## 容器部署:恢复后确认,封存继续 / after a restore: sealing goes on (REASON="…")
	@$(if $(EMBEDDED),$(PY) -m beam audit accept --restored --reason,$(HOST) audit-accept) "$(REASON)"

.PHONY: broker-accounts
broker-accounts: ## 容器部署:为别处的 NATS 写账号 / accounts.conf of brokers elsewhere (FOLDER=accounts)
	@$(HOST) accounts $(or $(FOLDER),accounts)

.PHONY: broker
broker: ## 容器部署:事件如何保存、谁落后 / how events are kept (ARGS="--replicas 3", "--move")
	@$(COMPOSE) --profile ops run --rm --no-deps smoke broker $(ARGS)

DCLINT = npx --yes dclint@3.1.0

.PHONY: lint-compose
lint-compose: ## compose 文件的外部检查(需要 npm) / the compose files by a linter of others (npm)
	@if ! command -v npx >/dev/null; then \
		echo "· 跳过 dclint:没有 npm / dclint skipped: no npm here"; \
	elif ! $(DCLINT) --version >/dev/null 2>&1; then \
		echo "· 跳过 dclint:npm 取不到它 / dclint skipped: npm cannot fetch it here"; \
	else $(DCLINT) -q deploy/compose.yaml deploy/observability/compose.observability.yaml \
		&& echo "✓ dclint"; fi

.PHONY: clean
clean: ## 停止并删除数据与缓存 / stop it and delete data and caches
	@test ! -x $(PY) || $(PY) -m beam stop
	@d="$${BEAM_DATA:-.data}"; test ! -f "$$d/VERSION" || { \
		! test -f "$$d/postgres/location" || rm -rf "$$(cat "$$d/postgres/location")"; \
		rm -rf "$$d"; }
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.PHONY: backup
backup: ## 备份到一个文件 / everything in one file (FILE=; EMBEDDED=1 for make run)
	@$(if $(EMBEDDED),$(PY) -m beam backup,$(HOST) backup) $(FILE)

.PHONY: restore
restore: ## 从备份恢复 / put a backup in place (FILE=…; EMBEDDED=1 for make run)
	@$(if $(EMBEDDED),$(PY) -m beam restore,$(HOST) restore) $(FILE)

.PHONY: upgrade
upgrade: ## 容器部署:备份、迁移、逐个更换 / backup, migrate, replace one by one
	@$(HOST) upgrade
