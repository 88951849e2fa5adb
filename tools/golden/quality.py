#!/usr/bin/env python3
"""The numbers of tests/tools/quality_test.cpp: PSNR and SSIM of two made-up pictures by scikit-image. Prints them."""
import numpy as np
import skimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

h, w = 37, 53
y, x, c = np.meshgrid(np.arange(h), np.arange(w), np.arange(3), indexing="ij")
a = ((x * 3 + y * 5 + c * 40 + (x * y) % 17) % 256).astype(np.float32) / np.float32(255)
b = ((x * 3 + y * 5 + c * 40 + (x * y) % 17 + (x * x + 7 * y) % 23) % 256).astype(np.float32) / np.float32(255)
a, b = a.astype(np.float64), b.astype(np.float64)
options = dict(data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
print("scikit-image", skimage.__version__)
print("psnr %.10f" % peak_signal_noise_ratio(a, b, data_range=1.0))
print("ssim %.10f" % structural_similarity(a, b, channel_axis=-1, **options))
