"""Does a memory core learn what it is for? Small tasks that need memory, a bar for each that claims one, and speed."""
