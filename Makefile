# Two targets matter to a newcomer: `make demo` and `make test`. Each target calls a script that also runs alone.

# How `make demo` builds the binary: optimised, without the minutes of link-time optimisation.
PROFILE ?= quick

.PHONY: help
help: ## shows this
	@sed -n 's/^\([a-z]*\): ## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: demo
demo: ## builds, starts a small cluster in one process, shows what two tenants see, stays until Ctrl-C
	cargo build --locked --profile $(PROFILE)
	tests/tools/demo target/$(PROFILE)/kube-tenant-proxy

.PHONY: test
test: ## everything: formatting, lints, unit tests, a real API server, chart, image
	tests/tools/test

.PHONY: check
check: ## formatting, lints and the tests without network or sockets
	tests/tools/test check

.PHONY: soak
soak: ## checks watches against a model for SOAK_MINUTES (30); SEED=N takes the decisions of an earlier run
	tests/tools/soak

.PHONY: testbed
testbed: ## builds and starts the real API server of the tests (ten minutes once, then seconds), until Ctrl-C
	tests/tools/testbed

.PHONY: chart
chart: ## the chart's tests; UPDATE=1 writes the golden files anew
	tests/chart/run

.PHONY: image
image: ## the image's tests, and the image itself where docker, podman or buildah is at hand
	tests/image/run
	tests/image/build
