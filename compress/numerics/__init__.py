"""Pure tensor functions of quantization; imports torch only: no model, no file, no configuration."""
