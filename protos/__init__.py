"""Fabric's wire format: our own `.proto` files, and the modules that protoc generates from them.

`python -m protos.generate` generates the modules again; with `--check` it compares them with the
committed modules.
"""
