"""Code about machines, not about learning: sessions, resources, devices, weight transport."""
