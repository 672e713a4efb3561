"""Forges valid Fabric chains from a seed: real blocks with real signatures, without a network.

Equal seeds and parameters give equal bytes. `forger.forge` yields whole chains. Tests that choose
every envelope use the parts: `chain.Chain`, `workload.Workload`,
`hostile_envelopes.envelope_builders`.
"""
