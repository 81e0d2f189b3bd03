"""Where what environments give is taken in: observations, rewards, infos and frames are checked and copied here, once."""
