"""Remote read with streamed XOR chunks: what is asked for, its frames, and when it pays."""
