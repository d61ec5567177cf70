"""What is in a model's folder: its files, checkpoints and LoRAs, read without torch."""
