# make demo    install, get weights, train a generator of the box with the mask-aided GAN, make a picture
# make test    install, run the tests
# make lint    install, check style and types
# make bench   install, time our training step against BasicSR's
# make browser install Chromium, in which tests open the HTML pages (they are skipped without)
# make docs    install, build the pages of docs/ as a site in build/docs, which needs no network and no server
# make docs-serve  the same at http://localhost:8000; make docs, meanwhile, renews it
# make dist    install, build the wheel and the source distribution of what is committed in dist/, and check them
# make doctor  install, say what works here and what to do about the rest

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
JOBS ?= 2
DEMO = experiments/demo_finetune_mask_photo_x4

.PHONY: demo test lint format bench docs docs-serve dist doctor install browser clean

install: $(VENV)/.installed

$(VENV)/.installed: constraints.txt setup.py scripts/install.sh
	@sh scripts/install.sh '$(PYTHON)' '$(VENV)'

browser:
	@sh scripts/install_browser.sh

demo: install
	$(RUN) scripts/get_weights.py vgg16 alexnet
	$(RUN) basicsr/train.py -opt options/finetune_mask_photo_x4.yml --demo
	$(RUN) scripts/compare.py --experiment photo_x4_psnr $(DEMO) --output $(DEMO)/comparison.png

test: install browser
	$(RUN) -m pytest -n $(JOBS) --dist loadfile

lint: install
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: install
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

bench: install
	$(RUN) studies/benchmark_step.py

docs: install
	$(RUN) -m sphinx --fail-on-warning --keep-going --quiet --conf-dir docs . build/docs
	@echo 'the pages are in build/docs, begin with build/docs/index.html'

docs-serve: docs
	$(RUN) -m http.server --bind localhost --directory build/docs 8000

dist: install
	$(RUN) -m pip install -q -c constraints.txt build twine
	rm -rf build/dist dist
	mkdir -p build/dist
	git archive HEAD | tar -x -C build/dist
	$(RUN) -m build --no-isolation --outdir dist build/dist
	$(RUN) -m twine check --strict dist/*

doctor: install
	$(RUN) -m ext_core.doctor

clean:
	rm -rf '$(VENV)' build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
