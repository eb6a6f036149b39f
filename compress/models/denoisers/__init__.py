"""Models that denoise latents: diffusers' UNet2DConditionModel, what timesteps it was trained on, and its shapes."""
