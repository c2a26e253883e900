"""DVC's stages: each reads its inputs, calls one function of imssl per cell, and writes its outputs."""
