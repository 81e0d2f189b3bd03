"""Where what environments give is taken in, once: observations, rewards, infos and frames are checked and copied."""
