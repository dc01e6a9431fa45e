"""One file for each way of running GPT-2, all with the same two requests: see `bench.peers.worker`."""
