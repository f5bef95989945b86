"""CITER, the token-level baseline (arXiv 2502.01976): a small router lets the teacher write single tokens."""
