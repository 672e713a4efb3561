"""Verifies the signatures of blocks and envelopes against the channel's own configuration.

`channel_trust.ChannelTrust` is what a CONFIG block says about trust. `block_signatures` verifies
the signatures of orderers, `envelopes` those of creators and endorsers, against the definitions in
`chaincode_definitions`. Nothing here reads a clock, a file or a network, and no content of a block
raises an error: every answer is a verdict (`verdicts`).
"""
