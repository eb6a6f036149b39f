"""How many bits each layer gets: what each choice costs in bytes and in loss, and the best that fits."""
