"""How bytes and commands reach a device."""
