"""`relayllm plan`: predicts a run's step time on GPUs that are not here, by simulation, and proposes how to split them."""
