"""The trained student of a run as a Hugging Face folder, with a model card that is filled from the run."""
