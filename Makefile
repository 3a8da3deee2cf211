# make demo   a real comparison on the built-in digits, in under a minute after installing
# make test   everything: lint, types, tests, docs, examples
# make bench  the benchmarks, with their ratios
# make page   build the page from ui/ (needs node and npm; the built page is in the repository)
# make coverage  which lines no test runs
.PHONY: demo test bench coverage page clean
PY := .venv/bin/python

demo: .venv/.installed
	@$(PY) -m thalweg demo

test: .venv/.tested
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@$(PY) -m pytest -n 2 --dist worksteal $(PYTEST)

coverage: .venv/.tested
	@$(PY) -m pytest -n 2 --dist worksteal --cov --cov-fail-under=90 $(PYTEST)

page:
	@cd ui && npm ci && npm run build

bench: .venv/.benched
	@for script in benchmarks/*.py; do $(PY) $$script || exit 1; done
	@$(PY) -m benchmarks.faults --half second

.venv/.installed: pyproject.toml
	@sh .ci/install.sh
	@touch $@

.venv/.tested: pyproject.toml
	@sh .ci/install.sh test
	@touch .venv/.installed $@

.venv/.benched: pyproject.toml
	@sh .ci/install.sh bench
	@touch .venv/.installed $@

clean:
	rm -rf .venv build *.egg-info
