"""Models that denoise latents: UNets and transformers of diffusers, a file each, their schedules and shapes."""
