"""Raw samples by remote read: streamed XOR chunks instead of JSON, for long windows."""
