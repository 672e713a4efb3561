"""Evidence bundles: files that prove one transaction to a third party, offline.

`making` makes a bundle from serialized blocks, and `verification` verifies one. Both examine the
same content in the same way (`examination`), so that a bundle that was made can be verified. The
format is described in docs/evidence/README.md, where a program that needs no part of this project
verifies bundles too: a change here needs the same change there.

Nothing here reads a clock, a file or a network.
"""
