"""Parakeet TDT through NVIDIA NeMo."""
