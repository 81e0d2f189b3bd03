"""What a GPU buys: searches, cores, agents on pictures, and whether everything learns there."""
