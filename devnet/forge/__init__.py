"""A forger of valid Fabric chains: from a seed, real blocks with real signatures and no Fabric network.

The same seed and parameters give the same bytes. `forger.Forger` and `forger.forge` yield whole chains;
`chain.Chain`, `workload.Workload` and `hostile.catalogue` are the parts for tests that choose every envelope.
"""
