"""What generates tokens: vLLM, an OpenAI-compatible endpoint, or another actor."""
