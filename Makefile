# Each goal sets up everything it needs, from nothing. PYTHON= chooses the interpreter.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV ?= .venv-$(VERSION)
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := $(VENV)/.docs
# Training of the bundled weights: a folder of photographs, and minutes of `make gpu`. Of
# `make weights` the configuration, the run that it resumes, and more for train.py.
PHOTOS ?=
MINUTES ?= 30
RECIPE ?= bundled_fast
RUN ?= runs/$(RECIPE)
FLAGS ?=
# The seven photographs of the fixed validation set (docs/reference/validation-set.md), for `make score`.
HELD_OUT ?=
WEIGHTS ?= fast
# Real scenes in the layout `pairs`, for `make score` as well; it does not need them.
REAL ?=
# Of `make train-on` (docs/how-to/long-training.md): objects for the blur, hours until it stops, its
# folder outside the clone, and what of the package is installed there (train,cuda).
CUTOUTS ?=
HOURS ?=
HOME_DIR ?=
EXTRAS ?= train
STOP ?=
# Of `make docs`: NOTEBOOK= leaves out running the notebook.
NOTEBOOK ?= 1
OUT ?=
# The recipe of these: RECIPE if it is given, else the one that learns most.
train-on train-on-export: RECIPE = bundled_fast

.PHONY: demo docs test test-slow gpu bench weights train-on train-on-export score lint format clean

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $(READY)

$(DOCS): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $(DOCS)

demo: $(READY)
	$(BIN)/mtujax demo demo

test: $(READY) lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Most slow tests compile more than they run, see tests/conftest.py. These run for long,
# or guard what users get: they compile as users do.
END := tests/end_to_end/test_
LONG := $(END)slow.py $(END)slow_training.py $(END)notebook.py tests/cli/test_demo.py tests/model/test_tiling.py
EXACT := $(END)parity.py tests/model/test_clip.py tests/ops/test_matching.py tests/training/test_step_parity.py

test-slow: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow $(patsubst %,--ignore=%,$(LONG) $(EXACT))
	XLA_FLAGS= $(BIN)/python -m pytest -n 2 --dist worksteal -m slow $(LONG)
	XLA_FLAGS= $(BIN)/python -m pytest -n 2 --dist worksteal -m 'not gpu' $(EXACT)

gpu: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[test,cuda]'
	$(BIN)/python -m benchmarks.gpu.day '$(or $(OUT),gpu-day)' --minutes $(MINUTES) $(if $(PHOTOS),--photos '$(PHOTOS)' --start fast) $(if $(CUTOUTS),--cutouts '$(CUTOUTS)') $(if $(REAL),--sets '$(REAL)') --only tests matchers narrow flags $(if $(PHOTOS),train) $(if $(REAL),scores) speed

bench: $(READY)
	$(BIN)/python -m benchmarks.speed.speed --json benchmarks/results
	$(BIN)/python -m benchmarks.pipelines.start --json benchmarks/results
	$(BIN)/python -m benchmarks.speed.growth --json benchmarks/results
	$(BIN)/python -m benchmarks.speed.core --json benchmarks/results
	$(BIN)/python -m benchmarks.pipelines.video --json benchmarks/results
	$(BIN)/python -m benchmarks.pipelines.many --json benchmarks/results
	$(BIN)/python -m benchmarks.pipelines.data --json benchmarks/results
	$(BIN)/python -m benchmarks.training.train --json benchmarks/results
	$(BIN)/python -m benchmarks.pipelines.eval --json benchmarks/results
	$(BIN)/python -m benchmarks.pipelines.fetch --json benchmarks/results

weights: $(READY)
	@test -n '$(PHOTOS)' || { echo "make weights: PHOTOS=FOLDER is missing, see docs/how-to/long-training.md" >&2; exit 2; }
	form=$$($(BIN)/python -c 'import jax; print("cpu" if jax.default_backend() == "cpu" else "gpu")') && \
	$(BIN)/python train.py --config=configs/$(RECIPE).py:$$form --config.data.path='$(PHOTOS)' --config.run='$(RUN)' $(FLAGS)
	$(BIN)/mtujax export '$(RUN)' '$(RUN)/$(patsubst bundled_%,%,$(RECIPE)).safetensors' --overwrite

TRAIN_ON = $(BIN)/python scripts/train_on.py $(1) --recipe '$(RECIPE)' $(if $(HOME_DIR),--home '$(HOME_DIR)')

train-on: $(READY)
ifneq ($(STOP),)
	$(call TRAIN_ON,stop)
else
	@test -n '$(PHOTOS)' || { echo "make train-on: PHOTOS=FOLDER is missing, see docs/how-to/long-training.md" >&2; exit 2; }
	$(call TRAIN_ON,start) --photos '$(PHOTOS)' $(if $(CUTOUTS),--cutouts '$(CUTOUTS)') $(if $(HELD_OUT),--held-out '$(HELD_OUT)') $(if $(HOURS),--hours $(HOURS)) --extras $(EXTRAS) $(FLAGS)
endif

train-on-export: $(READY)
	$(call TRAIN_ON,export) $(if $(OUT),--out '$(OUT)')

score: $(READY)
	@test -n '$(HELD_OUT)$(REAL)' || { echo "make score: HELD_OUT=FOLDER is missing, see docs/reference/validation-set.md; or REAL=FOLDER" >&2; exit 2; }
	mkdir -p scores
ifneq ($(HELD_OUT),)
	test -d scores/validation || $(BIN)/mtujax data synthesize --validation '$(HELD_OUT)' scores/validation
	test -d scores/frames/richardson_lucy_motion || $(BIN)/python -m benchmarks.weights.classical scores/validation scores/frames --json benchmarks/results
endif
ifneq ($(REAL),)
	test -d scores/real/richardson_lucy_motion || $(BIN)/python -m benchmarks.weights.classical '$(REAL)' scores/real --methods richardson_lucy_motion
endif
	$(BIN)/python -m benchmarks.weights.bundled $(if $(HELD_OUT),scores/validation --beside scores/frames) $(if $(REAL),--real '$(REAL)' --real-beside scores/real) --weights $(WEIGHTS) --json benchmarks/results

# The site of the documentation, to be opened at site/index.html.
docs: export NO_MKDOCS_2_WARNING = 1
docs: export DOCS_RUN_NOTEBOOK = $(NOTEBOOK)
docs: $(DOCS)
	$(BIN)/python scripts/diagrams.py
	$(BIN)/python -m mkdocs build --strict

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv* demo build site *.egg-info
