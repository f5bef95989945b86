"""What runs inside vLLM's worker processes: new weights from a shared-memory file into the live model."""

from __future__ import annotations


class WeightReceiver:
    """Mixed into vLLM's worker by `worker_extension_cls`; its methods are called with `collective_rpc`."""

    def receive_weights(self, path: str) -> None:
        """Replace the model's weights by the safetensors file at `path`.

        The layer-wise reload undoes and redoes what vLLM does to weights after loading (packing linear layers on the
        CPU, for one). A tied head is packed apart from the embedding and would stay stale: it is loaded as well.
        """
        from safetensors.torch import load_file
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

        model, model_config = self.model_runner.model, self.model_runner.model_config  # type: ignore[attr-defined]
        weights = load_file(path)
        if model_config.hf_config.tie_word_embeddings:
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
        initialize_layerwise_reload(model)
        model.load_weights(weights.items())
        finalize_layerwise_reload(model, model_config)
