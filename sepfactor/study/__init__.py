"""What a run works on: the network, the data, the engine."""
