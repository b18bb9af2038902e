"""What could not be delivered: kept whole, or only counted, until somebody decides about it."""
