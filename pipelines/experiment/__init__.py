"""What a run is: the schema of its YAML file, how it is loaded, and what is wrong with it."""
