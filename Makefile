# make demo   index the corpus in the package and answer questions through the core, LangChain and LlamaIndex
# make test   run the tests
# make test-lowest   run them with the oldest dependencies that pyproject.toml admits, in .venv-lowest, on Python 3.11
# make lint   ruff, mypy, pyright on what users would write, import-linter
# make docs   build the documentation into build/docs; a warning is an error
# Each makes .venv if needed and installs into it; nothing else to do first. PYTHON=python3.12 picks another Python.

PYTHON ?= python3
BIN := .venv/bin
LOWEST := .venv-lowest/bin
export HF_HUB_OFFLINE := 1

.PHONY: demo test test-lowest lint docs clean

demo: .venv/installed-all
	$(BIN)/bge-hybrid demo

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Old packages warn of newer ones below them, so warnings are no errors here. Left out is what cannot be there:
# langchain-milvus 0.4 needs langchain-core 1.4.9.
test-lowest: .venv-lowest/installed
	$(LOWEST)/python -m pytest -n 2 --dist loadfile -W default $(addprefix --ignore=tests/,docs training \
		langchain/test_langchain_sparse_milvus.py)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict tests/typing
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	$(BIN)/lint-imports

docs: .venv/installed-docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs

clean:
	rm -rf .venv .venv-lowest build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/installed-%: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@

.venv-lowest/installed: pyproject.toml constraints-lowest.txt | .venv-lowest/bin/python
	$(LOWEST)/python -m pip install --quiet --constraint constraints-lowest.txt \
		--editable ".[torch,langchain,langchain-qdrant,llamaindex,files,onnx,export,flag,bm25,remote,mteb,qdrant,milvus]" \
		hypothesis langchain-chroma langchain-classic langchain-community langchain-tests lark \
		llama-index-vector-stores-chroma llama-index-vector-stores-qdrant pyarrow pytest pytest-asyncio pytest-socket \
		pytest-xdist
	touch $@

.venv/bin/python .venv-lowest/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(@:/bin/python=)
