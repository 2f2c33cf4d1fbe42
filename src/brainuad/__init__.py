"""brainuad: unsupervised anomaly detection in brain MRI and CT with diffusion models."""

__version__ = "0.1.0"
