"""Who is near: indexes that propose slots, and the re-ranking of what they propose."""
