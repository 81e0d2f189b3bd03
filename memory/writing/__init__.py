"""Rows on their way in: checked, matched with what is stored, given slots, and combined by a write rule."""
