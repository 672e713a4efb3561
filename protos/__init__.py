"""Fabric's wire format: our own `.proto` files and the modules that protoc generates from them.

`python -m protos.generate` writes the modules anew; `--check` compares them with what is committed.
"""
