# One clone, one command. Every target that needs Python makes .venv first, and is quick once it is there.
PYTHON ?= python3
EXP ?= daae_reviews
ARGS ?=
RUN ?= runs/$(EXP)
RESUME ?=
TRIALS ?= 20
WORKERS ?= 1
NODES ?= 1
GPUS ?= 1
CPU ?= 0
SBATCH ?=
# What a sweep takes where EXP is not given: an experiment with a KL.
SWEPT = $(if $(filter file,$(origin EXP)),svae_reviews,$(EXP))
SEEDS ?= 0 1 2
KEEP ?= 1 0.75 0.5 0
VENV := .venv
BIN := $(VENV)/bin
export DATA_DIR

.DEFAULT_GOAL := help
.PHONY: help setup train seeds grid sweep submit results compare tradeoff word-dropout-sweep test test-all lint types data evaluate sample explore bench clean

help: ## show what there is
	@echo "make train [EXP=$(EXP)] [DATA_DIR=folder of corpora] [ARGS=\"--trainer.max_epochs=3 ...\"]"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 12
	@echo "experiments:" $(patsubst experiments/%.yaml,%,$(wildcard experiments/[a-z]*.yaml))

setup: $(VENV)/.installed ## make .venv and install what is needed

$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "there is no $(PYTHON): install Python 3.11 to 3.13, or give PYTHON=..." >&2; exit 1; }
	@echo "installing into $(VENV), which takes a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

train: setup ## train an experiment (EXP, ARGS, DATA_DIR), then test it; RESUME=1 goes on with its newest unfinished run
	@$(BIN)/textae fit --config $(EXP) $(if $(RESUME),--ckpt_path last) $(ARGS)

seeds: setup ## train an experiment once for each of SEEDS="0 1 2"
	@for seed in $(SEEDS); do $(BIN)/textae fit --config $(EXP) --seed_everything $$seed $(ARGS) || exit 1; done

grid: setup ## train EXP once for each value that its paper reports (ARGS="--over OPTION VALUE VALUE ..." for others)
	@$(BIN)/textae grid --config $(EXP) $(ARGS)

sweep: setup ## search for settings of EXP (svae_reviews) in TRIALS=20 trainings, WORKERS=1 at a time (ARGS="--space bowman ...")
	@$(BIN)/textae sweep --config $(SWEPT) --trials $(TRIALS) --workers $(WORKERS) $(ARGS)

submit: ## a SLURM job that trains EXP on NODES=1 times GPUS=1, and goes on by itself after a preemption (SBATCH="--time=... ...")
	@mkdir -p runs/slurm
	@EXP="$(EXP)" ARGS='$(ARGS)' sbatch --job-name=$(EXP) --nodes=$(NODES) --ntasks-per-node=$(GPUS) \
		$(if $(filter 0,$(CPU)),--gpus-per-node=$(GPUS)) --output=runs/slurm/%x-%j.out $(SBATCH) experiments/slurm/train.sbatch

results: setup ## the figures of RUN="runs/A runs/B" side by side, means over seeds (ARGS="--output FILE" writes JSON)
	@$(BIN)/textae results $(RUN) $(ARGS)

compare: setup ## RUN="runs/A runs/B" beside what papers print of their corpora, means over seeds (ARGS="--output FILE")
	@$(BIN)/textae compare $(RUN) $(ARGS)

tradeoff: setup ## forward and reverse perplexity against BLEU of RUN="runs/A runs/B" (ARGS="--output FILE.png" draws them)
	@$(BIN)/textae tradeoff $(RUN) $(ARGS)

word-dropout-sweep: setup ## train EXP (svae_reviews) once for each keep rate of KEEP="1 0.75 0.5 0", and plot KL and reconstruction
	@for keep in $(KEEP); do \
		dropout=$$(awk "BEGIN { print 1 - $$keep }"); \
		inputless=$$(awk "BEGIN { if ($$keep == 0) print \"--model.init_args.decoder.inputless unknown\" }"); \
		$(BIN)/textae fit --config $(SWEPT) --model.init_args.decoder.word_dropout $$dropout $$inputless $(ARGS) || exit 1; \
	done
	@$(BIN)/textae word-dropout runs/$(SWEPT) --output runs/$(SWEPT)/word_dropout.png

evaluate: setup ## the whole protocol on the newest run of an experiment (EXP or RUN=runs/NAME/VERSION)
	@$(BIN)/textae test --run "$(RUN)" --config _protocol $(ARGS)

sample: setup ## sentences from the prior of the newest run (EXP or RUN)
	@$(BIN)/textae sample --run "$(RUN)" $(ARGS)

explore: setup ## a page in the browser on which to explore the latent space of the newest run (EXP or RUN)
	@$(BIN)/textae explore --run "$(RUN)" $(ARGS)

data: setup ## fetch and prepare the corpus of an experiment ahead of a job, and describe it
	@$(BIN)/textae data --config $(EXP) $(ARGS)

# Each core takes tests, so that each test has one thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 8 --dist worksteal

test: setup ## the tests, without the slow ones
	@$(PYTEST) -m "not slow" $(ARGS)

test-all: setup ## all tests, those that train for minutes too
	@$(PYTEST) $(ARGS)

lint: setup ## ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup ## mypy --strict on our packages
	@$(BIN)/mypy

bench: setup ## speed beside the published loops (ARGS="importance" for one part, "--output FILE" for JSON)
	@$(BIN)/python -m experiments.bench $(ARGS)

clean: ## remove .venv and caches; runs stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
