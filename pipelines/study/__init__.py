"""Studies: several runs whose systems are compared with one another."""
