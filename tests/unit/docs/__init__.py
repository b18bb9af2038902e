"""The documents: what they name exists, and the other way round."""
