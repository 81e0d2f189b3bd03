"""What a key is made of, how two are compared, and what may stand for one."""
