"""From text to a trained model: the trainer, the loss, optimizers, validation, logs."""
