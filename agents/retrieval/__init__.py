"""What past episodes say to a policy: what is written of them, what is retrieved, and how a network reads it."""
