"""The ledger replicated by CometBFT v0.38: our application behind its ABCI 2.0 socket, and its process beside ours."""
