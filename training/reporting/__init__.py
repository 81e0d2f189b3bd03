"""What runs came to, for people: compared in one picture, one run as a page, one run as a model card."""
