"""The networks that are pretrained, and the files that their weights come from and go to."""
