"""Writing sentences from latents."""
