"""A short descent on the weights of a compressed network towards what the original answers; needs torch."""
