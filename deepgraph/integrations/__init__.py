"""Other libraries' training loops: one module each, imported on use."""
