"""Front-ends: from the input to a latent feature map."""
