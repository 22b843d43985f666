# The layer: the locked packages, for Lambda's platform, whatever this machine is. SAM passes no parameter to a build, but
# chooses the makefile by `ContextPath` in the template: that of the folder named like the architecture, which includes this.
# Wheels only: no C compiler is needed. `make build` sets PACKAGE, which compiles the packages to bytecode. Without it, as
# for `sam build`, a function compiles them when it imports them.

MACHINE := $(if $(filter arm64,$(ARCHITECTURE)),aarch64,x86_64)
PLATFORMS := $(foreach glibc,2_34 2_28 2_17,--platform manylinux_$(glibc)_$(MACHINE)) --platform manylinux2014_$(MACHINE)
PYTHON ?= python3

build-DependenciesLayer:
	"$(PYTHON)" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement requirements.txt \
	  --target "$(ARTIFACTS_DIR)/python" --only-binary :all: --implementation cp --python-version 3.13 $(PLATFORMS)
	rm -rf "$(ARTIFACTS_DIR)/python/bin"
	"$(PYTHON)" trim.py "$(ARTIFACTS_DIR)/python"
	find "$(ARTIFACTS_DIR)" -name __pycache__ -type d -prune -exec rm -rf {} +
	$(if $(PACKAGE),"$(PYTHON)" "$(PACKAGE)" --compile "$(ARTIFACTS_DIR)" /opt)
