"""The leaderboard of worlds whose targets shift: anybody's rows, checked, and one page of them."""
