"""The science of imssl-bench: images, encoders, self-supervised methods, training and analyses."""
