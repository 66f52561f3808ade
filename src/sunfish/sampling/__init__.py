"""From a prompt to a text: the pipeline, the denoising loops, guidance, unmasking policies."""
