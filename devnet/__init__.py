"""Everything needed to run without a Fabric network: embedded servers, forged chains and a peer that serves them."""
