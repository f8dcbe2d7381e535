"""Training: budget, optimizers, validation, checkpoints that resume bit for bit, and the run folder."""
