"""Verifies the signatures of blocks and envelopes against the channel's own configuration.

A caller follows the chain from its genesis block, or from a CONFIG block that it trusts otherwise:

1. `channel_trust.from_config_envelope` gives the trust that a CONFIG block establishes.
2. `block_signatures.verify_block_signatures` verifies each block under the trust of the CONFIG
   block below it, and gives back which CONFIG block its signers name.
3. `envelopes.verify_envelopes` verifies the envelopes of a block under the chaincode definitions in
   force, and gives the definitions for the next block.
4. `contradictions.contradiction` compares a verdict with the validation code that a peer gave.

Only a `valid` block is signed: `not_checked` is no proof. Nothing here reads a clock, a file or a
network, and no content of a block raises an error: every answer is a verdict (`verdicts`).
"""
