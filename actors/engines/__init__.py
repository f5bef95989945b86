"""What generates tokens: vLLM, an OpenAI-compatible endpoint, a remote actor, a script."""
