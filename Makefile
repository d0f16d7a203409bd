SHELL := /bin/bash
.DEFAULT_GOAL := help

FUZZTIME ?= 10s
export FUZZTIME

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z]*\): .*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

.PHONY: test
test: ## everything that has to pass: format, vet, tests with the race detector, js
	@scripts/test

.PHONY: lint
lint: ## golangci-lint over every module
	@scripts/lint

.PHONY: bench
bench: ## the load suite
	@cd bench && go run .

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s each)
	@scripts/fuzz

.PHONY: api
api: ## write down the public API anew (internal/arch/testdata)
	@go test ./internal/arch -run API -update

.PHONY: cover
cover: ## statement coverage of the root module
	@go test -coverpkg=./... -coverprofile=cover.out ./...
	@go tool cover -func=cover.out | tail -n 1

.PHONY: fmt
fmt: ## gofmt over every Go file
	@source scripts/lib.sh && files '*.go' | xargs -r gofmt -l -w
