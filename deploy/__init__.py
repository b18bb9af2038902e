"""What the images and containers need."""
