"""Pipelines that make images of texts: a text encoder, a UNet and a VAE's decoder as one model, and their tokenizer."""
